"""Where the file names of a SavedModel's operations come from: traced back through functions and their callers to the model's own files, or not.

Called by `savedmodel_graph.py`. A name that is computed, asked for in a request or written down as a constant is nobody's own file.
"""

from typing import Final

from aweigh.runtimes.savedmodel_wire import ASSET, Graph, Node, base, output

FROM_FILE: Final = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
_PASSES: Final = "Identity"
_CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


def fills_from_own_files(graph: Graph, scope: str, node: Node) -> bool:
    """Whether the file that a table is filled from is always one of the model's assets. `scope` is the function that the node lies in, "" for the graph."""
    return len(node.inputs) > 1 and _is_asset(graph, scope, node.inputs[1], frozenset())


def restores_checkpoint(graph: Graph, by_name: dict[str, Node], name: str) -> bool:
    """Whether a node of the graph that reads a checkpoint reads the one whose path the loader feeds."""
    node = by_name[name]
    for _ in by_name:  # no way back is longer than the graph
        if not node.inputs:
            return False
        if output(node.inputs[0]) == graph.checkpoint:
            return True
        source = by_name.get(base(node.inputs[0]))
        if source is None or source.op != _PASSES:
            return False
        node = source
    return False


def _is_asset(graph: Graph, scope: str, tensor: str, seen: frozenset[tuple[str, str]]) -> bool:
    name = base(tensor)
    if tensor.startswith("^") or (scope, name) in seen:
        return False
    seen |= {(scope, name)}
    if not scope and output(tensor) in {asset for asset, _ in graph.assets}:
        return True  # the loader puts the file's place there
    function = graph.functions.get(scope)
    if function is not None and name in function.arguments:
        return _every_caller_gives_one(graph, scope, function.arguments.index(name), seen)
    body = function.nodes if function is not None else graph.nodes
    node = next((each for each in body if each.name == name), None)
    return node is not None and node.op == _PASSES and bool(node.inputs) and _is_asset(graph, scope, node.inputs[0], seen)


def _every_caller_gives_one(graph: Graph, name: str, at: int, seen: frozenset[tuple[str, str]]) -> bool:
    """Whether an argument of a function is an asset, whoever calls it: nodes, and the loader for functions that saved objects name."""
    called = name in graph.named
    if called and not _is_bound_to_asset(graph, name, at):
        return False
    bodies = {each: function.nodes for each, function in graph.functions.items()}
    if not graph.has_objects:  # with objects, nobody runs the graph itself
        bodies[""] = graph.nodes
    for scope, nodes in bodies.items():
        for node in nodes:
            if name != node.op and name not in node.functions:
                continue
            if (node.op in _CALLS or node.op == name) and at < len(node.inputs) and _is_asset(graph, scope, node.inputs[at], seen):
                called = True
                continue
            return False
    return called


def _is_bound_to_asset(graph: Graph, name: str, at: int) -> bool:
    """Whether the object that the loader gives for an argument is an asset, each time that the function's objects are told."""
    told = graph.bound.get(name, [])
    count = len(graph.functions[name].arguments)
    for objects in told:
        index = at - (count - len(objects))
        if not 0 <= index < len(objects) or not 0 <= objects[index] < len(graph.kinds) or graph.kinds[objects[index]] != ASSET:
            return False
    return bool(told)

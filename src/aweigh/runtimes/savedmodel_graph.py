"""The verdict on SavedModels, before TensorFlow is imported: every operation of the graph and its functions only computes.

Called by packing's judge, and again by the runtime, whose package may come from elsewhere.
"""

import mmap
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from aweigh.core.errors import FileMissing, InvalidFile, NotTrusted
from aweigh.runtimes.savedmodel_files import FROM_FILE, fills_from_own_files, restores_checkpoint
from aweigh.runtimes.savedmodel_wire import Graph, Node, base, read_graphs

GRAPH: Final = "saved_model.pb"
_SHOWN: Final = 6
_SAVES: Final = frozenset({"SaveV2", "MergeV2Checkpoints", "ShardedFilename", "Save", "SaveSlices"})
_RESTORES: Final = frozenset({"RestoreV2", "Restore", "RestoreSlice"})
_TRUST: Final = "pass --trust if you made this model yourself, or export it without these operations"


def judge_savedmodel(file: Path, *, allowed: Iterable[str] = ()) -> list[str]:
    """The operations that are more than computing and that `allowed` does not name: [] where all is well. Raises InvalidFile where it is no SavedModel."""
    trusted = frozenset(allowed)
    found: set[str] = set()
    if not file.is_file():
        raise FileMissing(f"{file.name}: there is no such file", hint="the package is damaged: pack or pull it again")
    with file.open("rb") as stream:
        if file.stat().st_size == 0:
            raise InvalidFile(f"{file.name}: the file is empty", hint="export the model again")
        # closed with the last view of it, which an error may hold
        whole = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        graphs = read_graphs(whole)
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{file.name}: not a readable SavedModel: {error}", hint="export the model again") from error
    if not graphs:
        raise InvalidFile(f"{file.name}: holds no graph", hint="export the model again")
    for graph in graphs:
        _check_assets(graph, file.name)
        found |= _strange(graph)
    return sorted(found - trusted)


def refused(place: str, operations: Iterable[str]) -> NotTrusted:
    """The error that names them."""
    names = list(operations)
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return NotTrusted(
        f"{place}: the graph holds {shown}, which may reach files, the network or Python, or is unknown", hint=_TRUST, operations=shown
    )


def _check_assets(graph: Graph, place: str) -> None:
    """Files that tables are filled from lie in the model's own folder."""
    for _, name in graph.assets:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
            raise NotTrusted(f"{place}: an asset lies outside the model's folder: {name[:200]!r}", hint="export the model again")


def _strange(graph: Graph) -> set[str]:
    """Operations outside the list. Those that write and read checkpoints are apart where nothing but the saver, which nobody runs, reaches them."""
    by_name = {node.name: node for node in graph.nodes}
    if len(by_name) < len(graph.nodes):
        raise InvalidFile(f"{GRAPH}: two nodes bear one name", hint="export the model again")
    exempt = _exempt_nodes(graph, by_name)
    exempt_functions = _exempt_functions(graph, exempt)
    unfed, unfed_functions = _unfed(graph, by_name)
    found: set[str] = set()
    for node in graph.nodes:
        if node.op not in exempt.get(node.name, frozenset()):
            found |= _outside(graph, "", node, fed=node.name not in unfed)
    for name, function in graph.functions.items():
        for node in function.nodes:
            if name not in exempt_functions or node.op not in _SAVES | _RESTORES:
                found |= _outside(graph, name, node, fed=name not in unfed_functions)
    return found


def _exempt_nodes(graph: Graph, by_name: dict[str, Node]) -> dict[str, frozenset[str]]:
    """Node names of the saver, and the operations that each may be beyond the list.

    Without an object graph TensorFlow restores by running what the saver names, fed with the checkpoint's own path: that part may read this path alone.
    """
    elsewhere = _upstream(by_name, graph.served | graph.initial)
    restoring = _upstream(by_name, graph.restoring) - elsewhere
    saving = _upstream(by_name, graph.saving) - elsewhere
    if graph.has_objects:
        return dict.fromkeys(saving | restoring, _SAVES | _RESTORES)
    exempt = dict.fromkeys(saving - restoring, _SAVES | _RESTORES)
    exempt |= {name: _RESTORES for name in restoring if name in by_name and restores_checkpoint(graph, by_name, name)}
    return exempt


def _unfed(graph: Graph, by_name: dict[str, Node]) -> tuple[set[str], set[str]]:
    """Nodes and functions that run without the loader putting the assets' places in: a constant there says what it likes."""
    if graph.has_objects:
        return set(), set()
    nodes = _upstream(by_name, graph.served | graph.restoring)
    return nodes, _closure(graph, {name for node in graph.nodes if node.name in nodes for name in _calls(graph, node)})


def _exempt_functions(graph: Graph, exempt: dict[str, frozenset[str]]) -> set[str]:
    """The saver's functions that nothing else can call: with an object graph alone, where the graph itself is never run."""
    if not graph.has_objects:
        return set()
    called = set(graph.named)
    savers: set[str] = set()
    for node in graph.nodes:
        (savers if node.name in exempt else called).update(_calls(graph, node))
    return _closure(graph, savers) - _closure(graph, called)


def _outside(graph: Graph, scope: str, node: Node, *, fed: bool) -> set[str]:
    if node.op in FROM_FILE:
        return set() if fed and fills_from_own_files(graph, scope, node) else {node.op}
    return set() if node.op in _OPERATIONS or node.op in graph.functions else {node.op[:100]}


def _calls(graph: Graph, node: Node) -> set[str]:
    return node.functions | ({node.op} if node.op in graph.functions else set())


def _closure(graph: Graph, names: set[str]) -> set[str]:
    waiting, found = list(names), set(names)
    while waiting:
        function = graph.functions.get(waiting.pop())
        for node in function.nodes if function else ():
            fresh = _calls(graph, node) - found
            found |= fresh
            waiting += fresh
    return found


def _upstream(by_name: dict[str, Node], names: set[str]) -> set[str]:
    waiting, found = list(names), set(names)
    while waiting:
        node = by_name.get(waiting.pop())
        fresh = {base(name) for name in node.inputs} - found if node else set()
        found |= fresh
        waiting += fresh
    return found


_OPERATIONS: Final = frozenset(
    word
    for line in Path(__file__).with_name("savedmodel_ops.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
    for word in line.split()
)

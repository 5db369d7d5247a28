"""What the verdict needs of a `saved_model.pb`, read in protobuf's wire format without TensorFlow: nodes, functions, and who names them.

Called by `savedmodel_graph.py`. Where protobuf lets a later field replace an earlier one, both are kept: the verdict is on whatever any reader may see.
"""

import dataclasses
from collections.abc import Iterator
from typing import Final

Bytes = memoryview
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KINDS: Final = frozenset(range(4, 11)) | {12}
"""Of a saved object: its numbers in protobuf's `oneof`, of which the last one counts."""
ASSET: Final = 5
_FUNCTION, _BARE_FUNCTION = 6, 8
_INITIAL_SIGNATURE: Final = "__saved_model_init_op"
_INITIAL_COLLECTIONS: Final = frozenset({"saved_model_main_op", "legacy_init_op", "table_initializer"})


@dataclasses.dataclass(slots=True, kw_only=True)
class Node:
    """One operation of a graph or of a function."""

    name: str = ""
    op: str = ""
    inputs: list[str] = dataclasses.field(default_factory=list)
    functions: set[str] = dataclasses.field(default_factory=set)
    """Functions that its attributes name."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Function:
    """One of the library's functions."""

    arguments: list[str] = dataclasses.field(default_factory=list)
    nodes: list[Node] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True, kw_only=True)
class Graph:
    """One MetaGraphDef."""

    nodes: list[Node] = dataclasses.field(default_factory=list)
    functions: dict[str, Function] = dataclasses.field(default_factory=dict)
    checkpoint: str = ""
    """The tensor that the loader feeds with the path of the checkpoint."""
    saving: set[str] = dataclasses.field(default_factory=set)
    restoring: set[str] = dataclasses.field(default_factory=set)
    served: set[str] = dataclasses.field(default_factory=set)
    """Nodes that signatures and collections name, but for the next."""
    initial: set[str] = dataclasses.field(default_factory=set)
    """Nodes that are run once, when the model is loaded, with the assets' places put in."""
    assets: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """The tensor that the loader feeds with the place of a file, and the file's name."""
    has_objects: bool = False
    """With an object graph, TensorFlow calls functions and never runs the graph itself."""
    kinds: list[int] = dataclasses.field(default_factory=list)
    """Of the saved objects, by their number."""
    named: set[str] = dataclasses.field(default_factory=set)
    """Functions that saved objects name: whoever loads them may call them."""
    bound: dict[str, list[list[int]]] = dataclasses.field(default_factory=dict)
    """The objects that a function's last arguments are, each time that they are told."""


def read_graphs(data: Bytes) -> list[Graph]:
    """Every graph of a SavedModel. Raises ValueError where the bytes are none."""
    return [_graph(value) for value in _every(data, 2)]


def base(tensor: str) -> str:
    """The node of a tensor's name: `^a`, `a:0` and `a:y:0` are of `a`."""
    return tensor.removeprefix("^").partition(":")[0]


def output(tensor: str) -> str:
    """A tensor's name in full: `a` is `a:0`."""
    return tensor if ":" in tensor else f"{tensor}:0"


def _graph(data: Bytes) -> Graph:
    found = Graph()
    for number, value in _fields(data):
        if not isinstance(value, Bytes):
            continue
        if number == 2:
            _read_graph(value, found)
        elif number == 3:
            found.checkpoint = output(_string(value, 1))
            found.saving |= {base(_text(each)) for each in _every(value, 2)}
            found.restoring |= {base(_text(each)) for each in _every(value, 3)}
        elif number == 4:
            _read_collection(value, found)
        elif number == 5:
            (found.initial if _string(value, 1) == _INITIAL_SIGNATURE else found.served).update(_outputs(value))
        elif number == 6:
            found.assets.append((output(_string(_message(value, 1), 1)), _string(value, 2)))
        elif number == 7:
            _read_objects(value, found)
    return found


def _read_graph(data: Bytes, found: Graph) -> None:
    found.nodes += [_node(value) for value in _every(data, 1)]
    for library in _every(data, 2):
        for value in _every(library, 1):
            signature = _message(value, 1)
            name = _string(signature, 1)
            if name in found.functions:
                raise ValueError(f"two functions are named {name[:100]!r}")
            arguments = [_string(each, 1) for each in _every(signature, 2)]
            found.functions[name] = Function(arguments=arguments, nodes=[_node(each) for each in _every(value, 3)])


def _read_objects(data: Bytes, found: Graph) -> None:
    found.has_objects = True
    for value in _every(data, 1):
        kind = 0
        for number, inner in _fields(value):
            kind = number if number in _KINDS else kind
            if number in {_FUNCTION, _BARE_FUNCTION}:
                found.named |= {_text(name) for name in _every(inner, 1)}
        found.kinds.append(kind)
    for entry in _every(data, 2):
        name = _string(entry, 1)
        found.named.add(name)
        found.bound.setdefault(name, []).append(_numbers(_message(entry, 2), 2))


def _node(data: Bytes) -> Node:
    node = Node()
    for number, value in _fields(data):
        if not isinstance(value, Bytes):
            continue
        if number == 1:
            node.name = _text(value)
        elif number == 2:
            node.op = _text(value)
        elif number == 3:
            node.inputs.append(_text(value))
        elif number == 5:
            _read_attribute(_message(value, 2), node)
    return node


def _read_attribute(data: Bytes, node: Node) -> None:
    for function in _every(data, 10):
        _read_function(function, node)
    for values in _every(data, 1):
        for function in _every(values, 9):
            _read_function(function, node)


def _read_function(data: Bytes, node: Node) -> None:
    """A NameAttrList: the function's name, and attributes which may name further ones."""
    node.functions.add(_string(data, 1))
    for entry in _every(data, 2):
        _read_attribute(_message(entry, 2), node)


def _read_collection(data: Bytes, found: Graph) -> None:
    """The names in a collection: of nodes, and whatever texts the description of a variable holds."""
    kept = _message(data, 2)
    nodes = {base(_text(name)) for names in _every(kept, 1) for name in _every(names, 1)}
    (found.initial if _string(data, 1) in _INITIAL_COLLECTIONS else found.served).update(nodes)
    for described in _every(kept, 2):
        for each in _every(described, 1):
            found.served |= {base(text) for text in _texts(each)}


def _texts(data: Bytes) -> set[str]:
    found = set()
    try:
        for _, value in _fields(data):
            if isinstance(value, Bytes):
                found.add(bytes(value).decode("utf-8", "replace"))
    except ValueError:
        return found  # a collection may hold anything: what reads as fields is taken
    return found


def _outputs(data: Bytes) -> set[str]:
    """Nodes that a signature's outputs come from."""
    return {base(_string(_message(entry, 2), 1)) for entry in _every(_message(data, 2), 2)}


def _message(data: Bytes | int, wanted: int) -> Bytes:
    """A message inside another. Where it is there several times, protobuf merges them, which is to read them one after the other."""
    found = _every(data, wanted)
    return found[0] if len(found) == 1 else memoryview(b"".join(found))


def _string(data: Bytes | int, wanted: int) -> str:
    """A text inside a message: the last one counts; "" where there is none."""
    found = _every(data, wanted)
    return _text(found[-1]) if found else ""


def _numbers(data: Bytes, wanted: int) -> list[int]:
    """Repeated numbers, packed or one by one."""
    found: list[int] = []
    for number, value in _fields(data):
        if number == wanted and isinstance(value, int):
            found.append(value)
        elif number == wanted and isinstance(value, Bytes):
            at = 0
            while at < len(value):
                each, at = _varint(value, at)
                found.append(each)
    return found


def _every(data: Bytes | int, wanted: int) -> list[Bytes]:
    return [value for number, value in _fields(data) if number == wanted and isinstance(value, Bytes)] if isinstance(data, Bytes) else []


def _text(data: Bytes) -> str:
    return bytes(data).decode("utf-8")


def _fields(data: Bytes) -> Iterator[tuple[int, Bytes | int]]:
    """Field numbers and values of a message; ValueError where it is none."""
    at, size = 0, len(data)
    while at < size:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif wire == _BYTES:
            length, at = _varint(data, at)
            if length > size - at:
                raise ValueError(f"a field claims {length} bytes, {size - at} are left")
            yield number, data[at : at + length]
            at += length
        elif wire in {_FIXED64, _FIXED32}:
            at += 8 if wire == _FIXED64 else 4
            yield number, 0
        else:
            raise ValueError(f"wire type {wire}")


def _varint(data: Bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number of more than ten bytes")

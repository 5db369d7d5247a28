"""SavedModels written by hand, field by field, in protobuf's wire format: no TensorFlow is needed to attack with them."""

from collections.abc import Sequence
from pathlib import Path


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes | str | int) -> bytes:
    """A field of a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def node(name: str, op: str, *inputs: str, calls: str = "", text: str = "") -> bytes:
    """A NodeDef, with an attribute that names a function, or the text of a constant."""
    data = field(1, name) + field(2, op) + b"".join(field(3, each) for each in inputs)
    if calls:
        data += field(5, field(1, "f") + field(2, field(10, field(1, calls))))
    if text:
        data += field(5, field(1, "value") + field(2, field(8, field(1, 7) + field(8, text))))
    return data


def function(name: str, *nodes: bytes, arguments: Sequence[str] = ()) -> bytes:
    """A FunctionDef of the library."""
    signature = field(1, name) + b"".join(field(2, field(1, each)) for each in arguments)
    return field(1, signature) + b"".join(field(3, each) for each in nodes)


def saved(
    folder: Path, nodes: Sequence[bytes], functions: Sequence[bytes] = (), *, output: str = "out:0", saver: bytes = b"", more: bytes = b""
) -> Path:
    """A `saved_model.pb` of one signature. `saver` and `more` are fields of the MetaGraphDef; without `saver`, one of the nodes `save` and `restore`."""
    graph = b"".join(field(1, each) for each in nodes) + field(2, b"".join(field(1, each) for each in functions))
    meta = field(2, graph) + (saver or saver_of("save:0", "restore")) + field(5, signature_of(output)) + more
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "saved_model.pb"
    place.write_bytes(field(1, 1) + field(2, meta))
    return place


def signature_of(output: str, name: str = "serving_default") -> bytes:
    """An entry of the signatures."""
    return field(1, name) + field(2, field(2, field(1, "y") + field(2, field(1, output))))


def saver_of(save: str, restore: str, path: str = "checkpoint:0") -> bytes:
    """The SaverDef: what TensorFlow runs to write and to read a checkpoint."""
    return field(3, field(1, path) + field(2, save) + field(3, restore))


def asset(tensor: str, file: str) -> bytes:
    """A file of the model, and the tensor that its place is put into."""
    return field(6, field(1, field(1, tensor)) + field(2, file))


def collection(name: str, *nodes: str, described: bytes = b"") -> bytes:
    """Nodes that are named for some purpose, or a variable's description."""
    kept = field(1, b"".join(field(1, each) for each in nodes)) if nodes else field(2, field(1, described))
    return field(4, field(1, name) + field(2, kept))


def objects(*kinds: bytes, functions: Sequence[bytes] = ()) -> bytes:
    """An object graph. `kinds` are SavedObjects, `functions` entries of its concrete functions."""
    return field(7, b"".join(field(1, each) for each in kinds) + b"".join(field(2, each) for each in functions))


def concrete(name: str, *bound: int) -> bytes:
    """A concrete function whose last arguments are the objects of these numbers."""
    return field(1, name) + field(2, field(2, b"".join(map(varint, bound))))


ASSET = field(5, b"")
RESOURCE = field(10, b"")


def named(function_name: str) -> bytes:
    """A saved function object."""
    return field(6, field(1, function_name))


def bare(function_name: str) -> bytes:
    """A saved object that is one function, without what it captured."""
    return field(8, field(1, function_name))

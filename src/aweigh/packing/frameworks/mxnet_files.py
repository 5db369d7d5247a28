"""Judges MXNet's two files without MXNet: the symbol (JSON) and the parameters (binary). Called by `mxnet.py` before any library reads them.

Every operator must be one that MXNet's own exporter translates (`mxnet_ops.txt`), so that `Custom`, subgraphs and plug-ins are refused by name. Lengths are held
to the file before anything is read by them. Must never execute, import or build what the files name.
"""

import dataclasses
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from aweigh.core.errors import FileMissing, InvalidFile, TooLarge, Unsupported
from aweigh.core.tensors import Datatype

OPERATORS: Final = frozenset(Path(__file__).with_name("mxnet_ops.txt").read_text(encoding="utf-8").split())
_MAX_SYMBOL_BYTES: Final = 64 * 1024 * 1024
_MAX_NODES: Final = 1_000_000
_MAX_ARRAYS: Final = 1_000_000
_MAX_NAME_BYTES: Final = 4096
_MAX_AXES: Final = 32
_LIST_MAGIC: Final = 0x112
_ARRAY_MAGIC: Final = frozenset({0xF993FAC9, 0xF993FACA})
_DATATYPES: Final = {
    0: Datatype.FP32,
    1: Datatype.FP64,
    2: Datatype.FP16,
    3: Datatype.UINT8,
    4: Datatype.INT32,
    5: Datatype.INT8,
    6: Datatype.INT64,
    7: Datatype.BOOL,
}
_LOSSES: Final = {
    "SoftmaxOutput": "softmax",
    "LinearRegressionOutput": "_copy",
    "MAERegressionOutput": "_copy",
    "LogisticRegressionOutput": "sigmoid",
}
"""Outputs of networks as they are trained, whose second input is the label, and what each is when nobody trains."""
_AGAIN: Final = "save the model again with MXNet 1.9: HybridBlock.export or Module.save_checkpoint"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One operator, or an input or parameter where `op` is "null"."""

    op: str
    name: str
    inputs: tuple[tuple[int, ...], ...] = ()
    attrs: dict[str, str] = msgspec.field(default_factory=dict)
    attr: dict[str, str] = msgspec.field(default_factory=dict)
    param: dict[str, str] = msgspec.field(default_factory=dict)
    subgraphs: tuple[msgspec.Raw, ...] = ()

    @property
    def said(self) -> dict[str, str]:
        """What the file says of the node; older files say it under other names."""
        return self.param | self.attr | self.attrs


class _File(msgspec.Struct, frozen=True, kw_only=True):
    nodes: tuple[Node, ...]
    heads: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """A judged symbol. `inputs` are what it is asked with, by name; `labels` what only training gives it."""

    inputs: Mapping[str, Node]
    labels: tuple[str, ...]
    outputs: int
    inference: bytes
    """The symbol without labels and with its losses as they answer when nobody trains."""


def beside(path: Path) -> tuple[Path, Path]:
    """Symbol and parameters, given either: `NAME-symbol.json` with the latest `NAME-NNNN.params` beside it. Raises FileMissing."""
    if path.suffix == ".params":
        name = re.sub(r"-\d{4,}$", "", path.stem)
        symbol = path.with_name(f"{name}-symbol.json")
        if not symbol.is_file():
            raise FileMissing(
                f"{path.name}: its symbol {symbol.name} is not beside it", hint="keep NAME-symbol.json and NAME-0000.params in one folder"
            )
        return symbol, path
    name = path.name.removesuffix(".json").removesuffix("-symbol")
    found = sorted(file for file in path.parent.glob(f"{_literal(name)}-*.params") if re.fullmatch(r"\d{4,}", file.stem[len(name) + 1 :]))
    if not found:
        raise FileMissing(
            f"{path.name}: its parameters {name}-0000.params are not beside it",
            hint="keep the two files in one folder, under the names MXNet gave them",
        )
    return path, found[-1]


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def judge(path: Path, *, trust: bool) -> None:  # noqa: ARG001  # neither file holds code to trust
    """The verdict on both files. Raises InvalidFile, FileMissing, TooLarge, Unsupported."""
    symbol_file, parameter_file = beside(path)
    read_symbol(symbol_file, read_parameters(parameter_file))


def read_symbol(path: Path, parameters: Mapping[str, Any]) -> Symbol:
    """Judge a symbol that goes with these parameters. Raises InvalidFile, TooLarge, Unsupported naming the operator."""
    if path.stat().st_size > _MAX_SYMBOL_BYTES:
        raise TooLarge(f"{path.name}: a symbol of {path.stat().st_size} bytes, {_MAX_SYMBOL_BYTES} are read at most")
    data = path.read_bytes()
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidFile(f"{path.name}: not an MXNet symbol: {error}", hint=_AGAIN) from error
    nodes = file.nodes
    if not nodes or len(nodes) > _MAX_NODES or not file.heads:
        raise InvalidFile(f"{path.name}: a symbol of {len(nodes)} nodes and {len(file.heads)} outputs", hint=_AGAIN)
    _check_wires(path, file)
    for node in nodes:
        _check_operator(path, node)
    labels = _labels(nodes)
    inputs = {node.name: node for at, node in enumerate(nodes) if node.op == "null" and node.name not in parameters and at not in labels}
    if not inputs:
        raise InvalidFile(f"{path.name}: every input of the symbol is a parameter", hint="the parameters belong to another symbol")
    return Symbol(
        inputs=inputs,
        labels=tuple(nodes[at].name for at in sorted(labels) if nodes[at].name not in parameters),
        outputs=len(file.heads),
        inference=_without_training(data, nodes),
    )


def _check_wires(path: Path, file: _File) -> None:
    names = [node.name for node in file.nodes if node.op == "null"]
    if len(set(names)) != len(names):
        raise InvalidFile(f"{path.name}: two inputs of the symbol have one name", hint=_AGAIN)
    for at, node in enumerate(file.nodes):
        if any(not 2 <= len(wire) <= 3 or not 0 <= wire[0] < at for wire in node.inputs):
            raise InvalidFile(f"{path.name}: node {at} '{node.name[:100]}' has an input that comes from nowhere before it", hint=_AGAIN)
    if any(not 2 <= len(head) <= 3 or not 0 <= head[0] < len(file.nodes) for head in file.heads):
        raise InvalidFile(f"{path.name}: an output of the symbol is of a node that is not there", hint=_AGAIN)


def _check_operator(path: Path, node: Node) -> None:
    if (node.op in OPERATORS and not node.subgraphs) or node.op in _LOSSES:
        return
    kind = "runs code that the file does not hold" if node.op == "Custom" else "has no form in ONNX"
    raise Unsupported(
        f"{path.name}: the operator '{node.op[:100]}' of node '{node.name[:100]}' {kind}",
        hint="build the network of MXNet's own operators that its ONNX exporter knows",
        operator=node.op[:100],
    )


def _labels(nodes: tuple[Node, ...]) -> set[int]:
    """The inputs that go nowhere but into the label of a loss."""
    labels = {node.inputs[1][0] for node in nodes if node.op in _LOSSES and len(node.inputs) > 1}
    others = {wire[0] for node in nodes for place, wire in enumerate(node.inputs) if node.op not in _LOSSES or place != 1}
    return {at for at in labels - others if nodes[at].op == "null"}


def _without_training(data: bytes, nodes: tuple[Node, ...]) -> bytes:
    """The JSON with each loss as what it answers in inference."""
    if not any(node.op in _LOSSES for node in nodes):
        return data
    whole = msgspec.json.decode(data)
    for made, node in zip(whole["nodes"], nodes, strict=True):
        if node.op in _LOSSES:
            made["op"] = _LOSSES[node.op]
            made["inputs"] = made["inputs"][:1]
            channels = node.said.get("multi_output", "False").lower() in {"true", "1"}
            for key in ("attrs", "attr", "param"):
                made.pop(key, None)
            made["attrs"] = {"axis": "1" if channels else "-1"} if made["op"] == "softmax" else {}
    return msgspec.json.encode(whole)


def read_parameters(path: Path) -> dict[str, tuple[Datatype, tuple[int, ...]]]:
    """Name to datatype and shape, `arg:` and `aux:` taken off. Raises InvalidFile unless every byte of the file is accounted for."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            found = _read_list(file, size)
        except (struct.error, _Damaged, UnicodeDecodeError) as error:
            raise InvalidFile(f"{path.name}: not a readable MXNet parameter file: {error}", hint=_AGAIN) from error
    bare = {name.partition(":")[2]: described for name, described in found.items() if name.startswith(("arg:", "aux:"))}
    if len(bare) != len(found):
        odd = next(name for name in found if not name.startswith(("arg:", "aux:")))
        raise InvalidFile(f"{path.name}: '{odd[:100]}' is neither a parameter (arg:) nor a state (aux:) of a symbol", hint=_AGAIN)
    return bare


class _Damaged(Exception):
    """What the bytes say cannot be."""


def _read_list(file: BinaryIO, size: int) -> dict[str, tuple[Datatype, tuple[int, ...]]]:
    magic, _, count = struct.unpack("<QQQ", file.read(24))
    if magic != _LIST_MAGIC or count > min(_MAX_ARRAYS, size // 16):
        raise _Damaged(f"it claims {count} arrays in {size} bytes")
    arrays = [_read_array(file, size) for _ in range(count)]
    (named,) = struct.unpack("<Q", file.read(8))
    if named != count:
        raise _Damaged(f"{count} arrays have {named} names")
    names = []
    for _ in range(count):
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _MAX_NAME_BYTES:
            raise _Damaged(f"a name of {length} bytes")
        name = file.read(length)
        if len(name) != length:
            raise _Damaged("it ends within a name")
        names.append(name.decode())
    if file.tell() != size:
        raise _Damaged(f"it goes on {size - file.tell()} bytes beyond its end")
    if len(set(names)) != len(names):
        raise _Damaged("two arrays have one name")
    return dict(zip(names, arrays, strict=True))


def _read_array(file: BinaryIO, size: int) -> tuple[Datatype, tuple[int, ...]]:
    magic, storage, rank = struct.unpack("<Iii", file.read(12))
    if magic not in _ARRAY_MAGIC:
        raise _Damaged("an array in a form of before MXNet 1.0")
    if storage != 0:
        raise _Damaged("a sparse array")
    if not 0 < rank <= _MAX_AXES:
        raise _Damaged(f"an array of {rank} axes")
    shape = struct.unpack(f"<{rank}q", file.read(8 * rank))
    _, _, kind = struct.unpack("<iii", file.read(12))
    if kind not in _DATATYPES:
        raise _Damaged(f"an array of the unknown type {kind}")
    length = _DATATYPES[kind].item_bytes or 0
    for axis in shape:
        length *= axis
        if axis < 0 or length > size:
            raise _Damaged(f"an array of the shape {list(shape)} in a file of {size} bytes")
    if file.tell() + length > size:
        raise _Damaged(f"it ends before the data of an array of the shape {list(shape)}")
    file.seek(length, 1)
    return _DATATYPES[kind], shape

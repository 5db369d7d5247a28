import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aweigh.core.errors import AweighError, FileMissing, InvalidFile, Unsupported
from aweigh.core.tensors import Datatype
from aweigh.packing.frameworks.mxnet_files import beside, read_parameters, read_symbol
from aweigh.packing.recognise import recognise

SHAPES = {"arg:w": (3, 4), "arg:b": (3,), "aux:mean": (2,)}


def parameters(
    shapes: dict[str, Sequence[int]] = SHAPES,
    *,
    count: int | None = None,
    magic: int = 0xF993FAC9,
    storage: int = 0,
    kind: int = 0,
    tail: bytes = b"",
) -> bytes:
    made = struct.pack("<QQQ", 0x112, 0, len(shapes) if count is None else count)
    for shape in shapes.values():
        made += struct.pack(f"<Iii{len(shape)}qiii", magic, storage, len(shape), *shape, 1, 0, kind)
        made += np.zeros([min(abs(axis), 64) for axis in shape], np.float32).tobytes()
    made += struct.pack("<Q", len(shapes))
    return made + b"".join(struct.pack("<Q", len(name)) + name.encode() for name in shapes) + tail


def symbol(*nodes: dict[str, Any], heads: Sequence[Sequence[int]] | None = None) -> bytes:
    named = [{"name": f"n{at}", "inputs": [], **node} for at, node in enumerate(nodes)]
    return json.dumps({"nodes": named, "heads": heads if heads is not None else [[len(nodes) - 1, 0, 0]]}, indent=2).encode()


DENSE = (
    {"op": "null", "name": "data"},
    {"op": "null", "name": "w"},
    {"op": "FullyConnected", "inputs": [[0, 0, 0], [1, 0, 0]], "attrs": {"num_hidden": "3"}},
)
KNOWN = {"w": (Datatype.FP32, (3, 4))}


def test_parameters_are_read_without_mxnet(tmp_path: Path) -> None:
    file = tmp_path / "m-0000.params"
    file.write_bytes(parameters())
    assert recognise(file).format == "mxnet"
    assert read_parameters(file) == {"w": (Datatype.FP32, (3, 4)), "b": (Datatype.FP32, (3,)), "mean": (Datatype.FP32, (2,))}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (parameters()[:-1], "readable"),
        (parameters()[:40], "readable"),
        (parameters(tail=b"x"), "beyond its end"),
        (parameters(count=2**62), "claims"),
        (parameters(count=4), "readable"),
        (parameters({"arg:w": (2**31, 2**31)}), "shape"),
        (parameters({"arg:w": (-1, 4)}), "shape"),
        (parameters({"arg:w": ()}), "0 axes"),
        (parameters(magic=0xF993FAC8), "before MXNet 1.0"),
        (parameters(storage=1), "sparse"),
        (parameters(kind=99), "unknown type"),
        (parameters({"w": (3, 4)}), "neither a parameter"),
        (b"\x12\x01", "readable"),
    ],
)
def test_damaged_parameters_are_refused_before_memory_is_taken(data: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "m-0000.params"
    file.write_bytes(data)
    with pytest.raises(InvalidFile, match=says):
        read_parameters(file)


def test_every_cut_and_flipped_byte_of_parameters_is_an_error_of_ours_or_harmless(tmp_path: Path) -> None:
    file, whole = tmp_path / "m-0000.params", parameters()
    for at in range(len(whole)):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]):
            file.write_bytes(data)
            try:
                read_parameters(file)
            except AweighError:
                continue
            assert len(data) == len(whole)  # a weight, a name or the device: nothing that a length hangs on


def test_a_symbol_tells_inputs_and_labels(tmp_path: Path) -> None:
    file = tmp_path / "m-symbol.json"
    file.write_bytes(symbol(*DENSE, {"op": "null", "name": "softmax_label"}, {"op": "SoftmaxOutput", "inputs": [[2, 0, 0], [3, 0, 0]]}))
    assert recognise(file).format == "mxnet"
    found = read_symbol(file, KNOWN)
    assert list(found.inputs) == ["data"]
    assert found.labels == ("softmax_label",)
    last = json.loads(found.inference)["nodes"][-1]
    assert last == {"name": "n4", "op": "softmax", "inputs": [[2, 0, 0]], "attrs": {"axis": "-1"}}


@pytest.mark.parametrize("operator", ["Custom", "_Native", "_foreach", "_CrossDeviceCopy", "TorchModule", "my_plugin"])
def test_operators_that_mxnets_exporter_does_not_know_are_refused_by_name(operator: str, tmp_path: Path) -> None:
    file = tmp_path / "m-symbol.json"
    file.write_bytes(
        symbol({"op": "null", "name": "data"}, {"op": operator, "name": "bad", "inputs": [[0, 0, 0]], "attrs": {"op_type": "os.system"}})
    )
    with pytest.raises(Unsupported, match=f"'{operator}' of node 'bad'"):
        read_symbol(file, {})


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b'{"nodes": 3}',
        symbol(),
        symbol(*DENSE, heads=[]),
        symbol(*DENSE, heads=[[7, 0, 0]]),
        symbol(*DENSE, {"op": "relu", "inputs": [[9, 0, 0]]}),
        symbol(*DENSE, {"op": "relu", "inputs": [[-1, 0, 0]]}),
        symbol(*DENSE, {"op": "relu", "inputs": [[3, 0, 0]]}),
        symbol({"op": "null", "name": "w"}, {"op": "null", "name": "w"}, {"op": "relu", "inputs": [[0, 0, 0]]}),
        symbol({"op": "null", "name": "w"}, {"op": "relu", "inputs": [[0, 0, 0]]}),
        b"[" * 100_000,
    ],
)
def test_damaged_symbols_are_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "m-symbol.json"
    file.write_bytes(data)
    with pytest.raises(InvalidFile):
        read_symbol(file, KNOWN)


def test_the_two_files_find_each_other(tmp_path: Path) -> None:
    written, plain = tmp_path / "a[1]-symbol.json", tmp_path / "b-symbol.json"
    for file in (written, plain):
        file.write_bytes(symbol(*DENSE))
    for name in ("a[1]-0000.params", "a[1]-0012.params", "a[1]-more-0099.params"):
        (tmp_path / name).write_bytes(parameters())
    assert beside(written)[1].name == "a[1]-0012.params"
    assert beside(tmp_path / "a[1]-0000.params") == (written, tmp_path / "a[1]-0000.params")
    with pytest.raises(FileMissing, match=r"b-0000\.params"):
        beside(plain)
    with pytest.raises(FileMissing, match="symbol"):
        beside(tmp_path / "a[1]-more-0099.params")

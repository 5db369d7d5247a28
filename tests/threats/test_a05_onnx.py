"""A5, ONNX: every hostile file is refused by `aweigh pack` with a typed error, whatever explodes does so in the child, and a server stays up.

External data is judged before anything follows it; the verdict alone is tested in tests/contract/packing/test_onnx.py. Not bounded here: a model
that was packed and allocates per request, which is for its isolation (`executor`) and the machine's limits.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.threats.commands import Done, run_all, tree
from tests.threats.siege import MIB, Siege

CAP = 1024 * MIB
"""Memory that a child may take."""
FLOAT = TensorProto.FLOAT
WEIGHTS = np.ones((8, 8), dtype=np.float32)
value = helper.make_tensor_value_info


def plain() -> Any:
    """Y = X · W."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "W"], ["Y"])],
        "plain",
        [value("X", FLOAT, ["n", 8])],
        [value("Y", FLOAT, ["n", 8])],
        [numpy_helper.from_array(WEIGHTS, "W")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def outside(**entries: str) -> Callable[[Path], Any]:
    """The weights in another file: where and which bytes of it."""

    def change(folder: Path) -> Any:
        model = plain()
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in {"location": "weights.bin", **entries}.items():
            tensor.external_data.add(key=key, value=text)
        return model

    return change


def inside(change: Callable[[Any], None]) -> Callable[[Path], Any]:
    """The model, with something changed in it."""

    def made(folder: Path) -> Any:
        model = plain()
        change(model)
        return model

    return made


def sparse(model: Any, *sizes: int) -> None:
    tensor = model.graph.sparse_initializer.add()
    tensor.values.CopyFrom(numpy_helper.from_array(np.ones(1, dtype=np.float32), "s"))
    tensor.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, dtype=np.int64), "i"))
    tensor.dims[:] = sizes


def sparse_constant(model: Any) -> None:
    node = model.graph.node.add(op_type="Constant", output=["c"])
    attribute = node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.values.CopyFrom(numpy_helper.from_array(np.ones(1, dtype=np.float32), "s"))
    attribute.sparse_tensor.dims[:] = [2**40]


def bomb(operator: str, *sizes: int) -> Callable[[Path], Any]:
    """A file of two hundred bytes whose one operator makes petabytes."""

    def made(folder: Path) -> Any:
        first = [] if operator == "ConstantOfShape" else ["X"]
        nodes = [helper.make_node(operator, [*first, "n"], ["t"]), helper.make_node("ReduceSum", ["t"], ["u"], keepdims=0)]
        nodes.append(helper.make_node("Add", ["X", "u"], ["Y"]))
        graph = helper.make_graph(
            nodes, "bomb", [value("X", FLOAT, ["n", 1])], [value("Y", FLOAT, ["n", 1])], [numpy_helper.from_array(np.array(sizes), "n")]
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    return made


HOSTILE: dict[str, Callable[[Path], Any]] = {
    **{
        f"location {location!r}": outside(location=location)
        for location in ("../x", "a/../../x", "/etc/passwd", "C:\\x", "link", "linked/passwd", "", "x\0y", "./weights.bin", "absent")
    },
    "location is a FIFO": outside(location="fifo"),
    "location is a device": outside(location="/dev/zero"),
    "location is a link to a device": outside(location="device"),
    "location is a hard link": outside(location="hard"),
    "location is a folder": outside(location="folder"),
    "location is a URL": outside(location="http://127.0.0.1/x"),
    "offset beyond the file": outside(offset="4096"),
    "offset below zero": outside(offset="-1"),
    "offset past 2^64": outside(offset=str(2**64)),
    "length beyond the file": outside(length="999999"),
    "length that its shape does not have": outside(length="8"),
    "length that is no number": outside(length="many"),
    "dimension below zero": inside(lambda model: model.graph.initializer[0].dims.__setitem__(0, -8)),
    "dimensions that its bytes do not have": inside(lambda model: model.graph.initializer[0].dims.__setitem__(0, 2**31)),
    "dimensions whose product wraps around": inside(lambda model: model.graph.initializer[0].dims.extend([2**32, 2**32])),
    "sparse tensor of terabytes": inside(lambda model: sparse(model, 2**20, 2**22)),
    "sparse tensor as a constant": inside(sparse_constant),
    "Tile bomb": bomb("Tile", 1 << 20, 1 << 16),
    "Expand bomb": bomb("Expand", 1 << 18, 1 << 18),
    "Pad bomb": bomb("Pad", 0, 0, 1 << 17, 1 << 17),
    "ConstantOfShape bomb": bomb("ConstantOfShape", 1 << 34),
    "ConstantOfShape bomb within 32 bits": bomb("ConstantOfShape", 1 << 30),
}


DAILY = {
    "location '../x'",
    "location 'link'",
    "location is a FIFO",
    "location is a hard link",
    "offset beyond the file",
    "dimension below zero",
    "sparse tensor of terabytes",
    "Expand bomb",
}
"""One of each sort; `make test-all` packs all of them."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each file, with everything in it that a location could lead to."""
    made = {}
    for case, build in HOSTILE.items():
        folder = made[case] = tmp_path_factory.mktemp("onnx")
        (folder.parent / "x").write_bytes(WEIGHTS.tobytes())
        (folder / "weights.bin").write_bytes(WEIGHTS.tobytes())
        (folder / "link").symlink_to("/etc/passwd")
        (folder / "device").symlink_to("/dev/zero")
        (folder / "linked").symlink_to("/etc")
        (folder / "folder").mkdir()
        (folder / "other").write_bytes(WEIGHTS.tobytes())
        os.link(folder / "other", folder / "hard")
        os.mkfifo(folder / "fifo")
        (folder / "model.onnx").write_bytes(build(folder).SerializeToString())
    return made


def packed(cases: Iterable[str], folders: dict[str, Path], home: Path, siege: Siege) -> dict[str, Done]:
    """These files, packed while a server runs: it answers before, after and meanwhile, and nothing beside the files has changed."""
    before = {case: tree_without_fifo(folders[case]) for case in cases}
    commands = {case: ["pack", str(folders[case] / "model.onnx"), "--name", "hostile"] for case in before}
    ended = run_all(home, commands, AWEIGH_CHILD_MEMORY_BYTES=str(CAP), AWEIGH_CHILD_TIMEOUT_S="60")
    siege.check_answers()
    assert {case: tree_without_fifo(folders[case]) for case in before} == before
    assert not [*home.glob("store/blobs/*/*")]
    return ended


@pytest.fixture(scope="module")
def daily(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, siege: Siege) -> dict[str, Done]:
    return packed(DAILY, folders, tmp_path_factory.mktemp("home"), siege)


@pytest.fixture(scope="module")
def others(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, siege: Siege) -> dict[str, Done]:
    return packed(HOSTILE.keys() - DAILY, folders, tmp_path_factory.mktemp("home"), siege)


def tree_without_fifo(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {name: each for name, each in tree(folder).items() if name != "fifo"}


def check_refused(case: str, done: Done) -> None:
    """With a typed error that is not an internal one, and exit code 1 (the model was refused) or 2 (the file is wrong); 3 where its data is missing."""
    assert done.code in ({2, 3} if "absent" in case else {1, 2, 4} if "bomb" in case else {1, 2}), done.said
    assert done.error["code"] in {"invalid-file", "file-not-found", "unsupported", "invalid-input", "child-died", "proof-failed"}, done.said
    assert "root:" not in done.said
    assert "Traceback" not in done.said
    assert done.peak_bytes < CAP, "what explodes does so within the child's memory"


@pytest.mark.parametrize("case", sorted(DAILY))
def test_a_hostile_file_is_refused(daily: dict[str, Done], case: str) -> None:
    check_refused(case, daily[case])


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(HOSTILE.keys() - DAILY))
def test_other_hostile_files_are_refused_as_well(others: dict[str, Done], case: str) -> None:
    check_refused(case, others[case])


@pytest.mark.parametrize("case", ["location is a FIFO", "sparse tensor of terabytes"])
def test_no_check_rests_on_an_assert(folders: dict[str, Path], tmp_path: Path, case: str) -> None:
    done = run_all(tmp_path, {case: ["pack", str(folders[case] / "model.onnx"), "--name", "hostile"]}, PYTHONOPTIMIZE="1")[case]
    assert (done.code, done.error["code"] in {"invalid-file", "unsupported"}) == (2, True), done.said

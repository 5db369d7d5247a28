"""The proof, on real ONNX models: what passes, what fails, what the evidence says, and batch invariance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from aweigh.core.evidence import Evidence, Strength
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.package import FORMAT_VERSION, PackageManifest, Provenance, Variant
from aweigh.core.signature import Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.testing import FakeHandle
from aweigh.verify import prove, reprove
from aweigh.verify.machine import machine, parse_cpuinfo, versions
from aweigh.verify.parity import CaseRun, order

B = "batch"
SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(B, 2)),),
    outputs=(
        TensorSpec(name="label", datatype=Datatype.INT64, shape=(B,), role="label"),
        TensorSpec(name="score", datatype=Datatype.FP32, shape=(B,), role="decision"),
    ),
    columns=tuple(Column(name=name, kind=ColumnKind.NUMBER, input="x", index=at) for at, name in enumerate(("age", "pay"))),
)
VARIANT = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("model.onnx",))


def save(file: Path, nodes: Sequence[onnx.NodeProto], threshold: float) -> None:
    constants = {"t": np.float32(threshold), "axis": np.array([1], dtype=np.int64), "zero": np.array([0], dtype=np.int64)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [B, 2])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, [B]), helper.make_tensor_value_info("score", TensorProto.FLOAT, [B])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(file))


def rowwise() -> list[onnx.NodeProto]:
    return [
        helper.make_node("ReduceSum", ["x", "axis"], ["score"], keepdims=0),
        helper.make_node("Greater", ["score", "t"], ["above"]),
        helper.make_node("Cast", ["above"], ["label"], to=TensorProto.INT64),
    ]


def batch_dependent() -> list[onnx.NodeProto]:
    """Scores are centred on the batch: equal to the source only in the batch that the source saw."""
    return [
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
        helper.make_node("ReduceMean", ["sum"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["sum", "mean"], ["score"]),
        helper.make_node("Greater", ["score", "t"], ["above"]),
        helper.make_node("Cast", ["above"], ["label"], to=TensorProto.INT64),
    ]


def source(x: Tensor) -> list[Tensor]:
    score = x.sum(axis=1, dtype=np.float32)
    return [(score > 1).astype(np.int64), score]


def centred(x: Tensor) -> list[Tensor]:
    score = x.sum(axis=1, dtype=np.float32)
    score = score - score.mean(dtype=np.float32)
    return [(score > 1).astype(np.int64), score]


def golden(answer: Any = source) -> list[GoldenAnswers]:
    sample = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
    odd = np.array([[np.nan, 1], [np.inf, 1]], dtype=np.float32)
    cases = [("sample", "rows of the sample", sample), ("one", "one row", sample[:1])]
    if answer is source:
        cases.append(("odd", "NaN and infinity", odd))
    return [GoldenAnswers(name=name, why=why, inputs={"x": x}, outputs=answer(x)) for name, why, x in cases]


def proof(
    folder: Path, nodes: list[onnx.NodeProto], *, threshold: float = 1.0, answer: Any = source, variant: Variant = VARIANT
) -> Evidence:
    save(folder / "model.onnx", nodes, threshold)
    return prove(variant, SIGNATURE, golden(answer), lambda file: folder / file, strength=Strength.FULL, data="made for the test")


def test_right_variant_passes_with_figures(tmp_path: Path) -> None:
    evidence = proof(tmp_path, rowwise())
    assert evidence.passed
    assert evidence.batch_invariant
    assert [check.name for check in evidence.checks] == ["parity", "flips", "nan", "determinism", "batch-invariance"]
    assert all(check.passed for check in evidence.checks)
    parity = evidence.check("parity")
    assert parity is not None
    assert parity.figures["rows"] == 43
    assert parity.limits["score.atol"] == 1e-5
    assert set(evidence.figures) == {"load_ms", "size_bytes", "latency_us_b1", "latency_us_b64", "latency_us_b1000"}
    assert evidence.figures["size_bytes"] == (tmp_path / "model.onnx").stat().st_size
    nan = evidence.check("nan")
    assert nan is not None
    assert nan.figures == {"cases": 1.0, "failed": 0.0}
    assert evidence.versions["onnxruntime"]
    assert evidence.made_at.endswith("Z")


def test_flipped_labels_fail_and_show_the_worst_inputs(tmp_path: Path) -> None:
    evidence = proof(tmp_path, rowwise(), threshold=0.0)
    assert not evidence.passed
    flips, parity = evidence.check("flips"), evidence.check("parity")
    assert flips is not None
    assert parity is not None
    assert not flips.passed
    assert flips.figures["flips"]
    assert 1 <= len(parity.worst) <= 5
    worst = parity.worst[0]
    assert (worst.case, worst.output, worst.expected, worst.actual) == ("sample", "label", "0", "1")
    assert worst.inputs.startswith("age=")
    assert "pay=" in worst.inputs
    assert "latency_us_b1" not in evidence.figures


def test_model_that_looks_at_its_batch_is_not_invariant_but_may_pass(tmp_path: Path) -> None:
    evidence = proof(tmp_path, batch_dependent(), answer=centred)
    assert evidence.passed
    assert not evidence.batch_invariant
    check = evidence.check("batch-invariance")
    assert check is not None
    assert "13" in check.note


def test_what_cannot_be_loaded_fails_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    evidence = prove(VARIANT, SIGNATURE, golden(), lambda file: tmp_path / file, strength=Strength.WEAK, data="x")
    assert not evidence.passed
    assert evidence.checks[0].name == "load"
    assert "InvalidFile" in evidence.checks[0].note


def test_variant_that_raises_where_the_source_answered_fails(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "two"], ["same"]), *rowwise()]
    nodes[1].input[0] = "same"
    nodes.insert(0, helper.make_node("Constant", [], ["two"], value=onnx.numpy_helper.from_array(np.array([40, 2], dtype=np.int64))))
    evidence = proof(tmp_path, nodes)
    assert not evidence.passed
    parity = evidence.check("parity")
    assert parity is not None
    assert "case 'one' (one row) raised" in parity.note
    assert any(worst.case == "one" and worst.expected == "an answer" for worst in parity.worst)
    assert not evidence.batch_invariant


def test_no_golden_set_proves_nothing(tmp_path: Path) -> None:
    save(tmp_path / "model.onnx", rowwise(), 1.0)
    evidence = prove(VARIANT, SIGNATURE, [], lambda file: tmp_path / file, strength=Strength.WEAK, data="nothing")
    assert not evidence.passed
    assert not evidence.batch_invariant


def test_reprove_proves_every_variant_of_a_package(tmp_path: Path) -> None:
    save(tmp_path / "model.onnx", rowwise(), 1.0)
    save(tmp_path / "wrong.onnx", rowwise(), 0.0)
    cases, files = golden_files(SIGNATURE, golden())
    (tmp_path / "golden").mkdir()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    wrong = Variant(name="wrong", runtime="onnxruntime", precision="fp32", files=("wrong.onnx",))
    manifest = PackageManifest(
        format_version=FORMAT_VERSION, signature=SIGNATURE, variants=(VARIANT, wrong), golden=cases, provenance=Provenance(framework="onnx")
    )
    found = reprove(FakeHandle(manifest, tmp_path))
    assert [(variant.name, evidence.passed) for variant, evidence in found] == [("onnx", True), ("wrong", False)]


def test_machine_is_described() -> None:
    here = machine()
    assert here.cores >= 1
    assert here.system
    assert here.python
    assert versions("onnxruntime")["numpy"] == np.__version__


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", {}), ("model name\t: A\nflags : avx2 fma\n\nmodel name : B\nodd line\n", {"model name": "A", "flags": "avx2 fma"})],
)
def test_cpuinfo_is_read(text: str, expected: dict[str, str]) -> None:
    assert parse_cpuinfo(text) == expected


@pytest.mark.parametrize(
    ("actual", "moved"), [([3.0, 1.0, 2.0, 1.0], 0), ([30.0, -1.0, 2.0, -1.0], 0), ([3.0, 1.0, 2.0, 1.1], 3), ([3.0, 2.0, 1.0, 2.0], 3)]
)
def test_a_ranker_keeps_its_order_and_its_ties(actual: list[float], moved: int) -> None:
    scores = np.array([3.0, 1.0, 2.0, 1.0])
    case = GoldenAnswers(name="sample", why="", inputs={"x": scores.reshape(-1, 1)}, outputs=[scores])
    check = order([CaseRun(case=case, actual=[np.array(actual)], difference=None)])
    assert check.passed == (moved == 0)
    assert check.figures == {"moved": float(moved)}

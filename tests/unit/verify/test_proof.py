"""The proof, on real ONNX models: what passes, what fails, what the evidence says, and batch invariance."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from aweigh.core.evidence import Check, Evidence, Strength
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.machine import machine, parse_cpuinfo
from aweigh.core.package import FORMAT_VERSION, PackageManifest, Provenance, Variant
from aweigh.core.signature import Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.testing import FakeHandle
from aweigh.verify import prove, reprove
from aweigh.verify.concurrency import concurrency
from aweigh.verify.errors import errors
from aweigh.verify.page import evidence_page
from aweigh.verify.parity import CaseRun, calibration, determinism, order, run_cases, shapes
from aweigh.verify.versions import versions

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
    assert [check.name for check in evidence.checks] == [
        "parity",
        "flips",
        "nan",
        "shapes",
        "determinism",
        "concurrency",
        "batch-invariance",
        "errors",
    ]
    assert all(check.passed for check in evidence.checks)
    parity = evidence.check("parity")
    assert parity is not None
    assert parity.figures["rows"] == 43
    assert parity.limits["score.atol"] == 1e-5
    assert set(evidence.figures) == {
        "load_ms",
        "first_answer_ms",
        "replay_ms",
        "size_bytes",
        "latency_us_b1",
        "latency_us_b64",
        "latency_us_b1000",
    }
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


class Asked:
    """A session that answers as it is told to."""

    concurrent = True
    isolated = False

    def __init__(self, answer: Callable[[Tensor], list[Tensor]]) -> None:
        self._answer = answer

    def run(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        return self._answer(inputs["x"])

    def close(self) -> None:
        pass


def test_a_session_that_mixes_up_its_callers_fails() -> None:
    kept: dict[str, Tensor] = {}
    alone = [True]

    def shared(x: Tensor) -> list[Tensor]:
        kept["x"] = x
        if not alone[0]:
            time.sleep(0.002)  # another caller comes in between
        return source(kept["x"][: len(x)] if len(kept["x"]) >= len(x) else np.resize(kept["x"], x.shape))

    session = Asked(shared)
    cases = [
        GoldenAnswers(name=f"case-{at}", why="", inputs={"x": x}, outputs=source(x))
        for at, x in enumerate(np.random.default_rng(2).normal(size=(6, 5, 2)).astype(np.float32))
    ]
    runs = run_cases(session, SIGNATURE, cases)
    alone[0] = False
    check = concurrency(session, SIGNATURE, runs)
    assert not check.passed
    assert "differs beside other callers: case-" in check.note
    assert concurrency(Asked(source), SIGNATURE, runs).passed
    session.concurrent = False
    assert "one call at a time" in concurrency(session, SIGNATURE, runs).note


def test_a_session_that_answers_by_chance_fails() -> None:
    random = np.random.default_rng(0)
    session = Asked(lambda x: [np.zeros(len(x), dtype=np.int64), random.normal(size=len(x)).astype(np.float32)])
    check = determinism(session, SIGNATURE, run_cases(session, SIGNATURE, golden()))
    assert not check.passed
    assert check.figures["bit_equal"] == 0.0


PROBABLE = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(B, 2)),),
    outputs=(TensorSpec(name="chances", datatype=Datatype.FP64, shape=(B, 2), role="probability"),),
)


@pytest.mark.parametrize(("shift", "passed"), [(0.0, True), (0.004, True), (0.02, False)])
def test_probabilities_that_are_shifted_as_a_whole_fail(shift: float, passed: bool) -> None:
    second = np.linspace(0.05, 0.9, 400)
    expected = np.column_stack([1 - second, second])
    noise = np.random.default_rng(0).normal(0, 1e-3, 400)
    actual = expected + np.column_stack([-noise - shift, noise + shift])
    case = GoldenAnswers(name="sample", why="", inputs={"x": np.zeros((400, 2), dtype=np.float32)}, outputs=[expected])
    check = calibration(PROBABLE, [CaseRun(case=case, actual=[actual], difference=None)])
    assert check.passed == passed
    assert check.limits == {"shift": 0.005}
    assert check.figures["shift"] == pytest.approx(shift, abs=1e-3)
    assert check.figures["probabilities"] == 800.0


def test_errors_are_counted_by_powers_of_ten_and_the_furthest_shown() -> None:
    expected = [np.zeros(6, dtype=np.int64), np.array([1.0, 2.0, 3.0, np.nan, np.inf, 4.0], dtype=np.float32)]
    actual = [expected[0], np.array([1.0, 2.0 + 2e-6, 3.0 + 5e-3, np.nan, np.inf, 4.0], dtype=np.float32)]
    case = GoldenAnswers(name="sample", why="", inputs={"x": np.arange(12, dtype=np.float32).reshape(6, 2)}, outputs=expected)
    check = errors(SIGNATURE, [CaseRun(case=case, actual=actual, difference=None)])
    assert check.passed
    assert check.figures == {"score 0": 4.0, "score 1e-06": 1.0, "score 1e-03": 1.0}
    assert [(worst.row, worst.inputs) for worst in check.worst] == [(2, "age=4.0, pay=5.0")]
    evidence = prove_page([check])
    assert "Values of &#x27;score&#x27; by how far they stray" in evidence
    assert evidence.count("<svg") == 1
    assert "<script" not in evidence
    assert "age=4.0, pay=5.0" in evidence


def prove_page(checks: list[Check]) -> str:
    evidence = Evidence(passed=True, strength=Strength.FULL, data="made for the test", made_at="", machine=machine(), checks=tuple(checks))
    return evidence_page("a page", [(VARIANT, evidence)])


def test_ties_are_counted_and_gate_nothing(tmp_path: Path) -> None:
    save(tmp_path / "model.onnx", rowwise(), 1.0)
    tied = np.array([[0.5, 0.1], [3.0, 1.0]], dtype=np.float32)
    other = [np.array([1, 1]), source(tied)[1]]
    cases = [*golden(), GoldenAnswers(name="sample-ties", why="", inputs={"x": tied}, outputs=other, ties=True)]
    evidence = prove(VARIANT, SIGNATURE, cases, lambda file: tmp_path / file, strength=Strength.FULL, data="made for the test")
    assert evidence.passed
    check = evidence.check("ties")
    assert check is not None
    assert check.figures == {"rows": 2.0, "answered otherwise": 1.0}


def test_every_shape_is_counted_and_a_wrong_one_named() -> None:
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(B, "length")),),
        outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(B,)),),
    )
    session = Asked(lambda x: [x.sum(axis=1) if x.shape[1] < 5 else x.sum(axis=1)[:1]])
    cases = [
        GoldenAnswers(
            name=f"size-{size}",
            why="",
            inputs={"x": np.ones((rows, size), dtype=np.float32)},
            outputs=[np.full(rows, size, dtype=np.float32)],
        )
        for rows, size in ((2, 3), (2, 4), (3, 5))
    ]
    check = shapes(signature, run_cases(session, signature, cases))
    assert not check.passed
    assert check.figures == {"sizes of batch": 2.0, "sizes of length": 3.0}
    assert check.note == "no answer, or one of another shape, in: size-5"

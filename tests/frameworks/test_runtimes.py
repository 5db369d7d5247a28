"""Runtimes whose libraries are missing here, in the environments that have them: the contract, and packages that are proven and served so."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.contract.test_runtimes import mixed_frame, numbers, text
from tests.frameworks.kit import environments, make

import aweigh
from aweigh.core.errors import GoldenMismatch, Unsupported
from aweigh.core.golden import read_golden
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.replay import replay
from aweigh.core.settings import Settings
from aweigh.core.tensors import Tensor
from aweigh.engine.lifecycle import load_model
from aweigh.runtimes import load_session
from aweigh.runtimes.process import ProcessRuntime
from aweigh.store import StoredPackage
from aweigh.testing import RuntimeSample

pytestmark = [pytest.mark.slow, pytest.mark.index]
_FEATURES = 64


def alike(left: Any, right: Any) -> None:
    """Numbers within float32's bounds, anything else equal."""
    if left.dtype.kind == "f":
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(("name", "made"), [("sklearn", mixed_frame), ("pack", lambda folder: text("reference", folder))])
def test_the_same_runtime_in_its_environment(name: str, made: Callable[[Path], RuntimeSample], tmp_path: Path) -> None:
    sample = made(tmp_path)
    session = ProcessRuntime(home=environments().home(name)).load(sample.variant, sample.signature, sample.path)
    try:
        for expected, actual in zip(sample.expected, session.run(sample.inputs), strict=True):
            alike(actual, expected)
    finally:
        session.close()


def test_what_openvino_cannot_run_is_said(tmp_path: Path) -> None:
    sample = text("openvino", tmp_path)
    with pytest.raises(Unsupported, match="string, which has no way through OpenVINO"):
        load_session(sample.variant, sample.signature, sample.path, environments=environments())
    sample = numbers("openvino", tmp_path)
    for options, said in (
        ({"device": "GPU"}, "the device GPU, which OpenVINO does not find"),
        ({"nonsense": 1}, "does not know: nonsense"),
    ):
        variant = msgspec.structs.replace(sample.variant, options=options)
        with pytest.raises(Unsupported, match=said):
            load_session(variant, sample.signature, sample.path, environments=environments())


def network(file: Path, *, rounded: bool = False) -> Path:
    """Two layers with a Relu between; `rounded` weights are what bfloat16 keeps of them."""
    random = np.random.default_rng(3)
    weights = [random.normal(size=size).astype(np.float32) * 0.2 for size in ((_FEATURES, 128), (128, 10))]
    if rounded:
        weights = [(each.view(np.uint32) & 0xFFFF0000).view(np.float32) for each in weights]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "w1"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", _FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        [onnx.numpy_helper.from_array(each, f"w{at}") for at, each in enumerate(weights)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(file))
    return file


def rows() -> Tensor:
    return np.random.default_rng(4).normal(size=(30, _FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> StoredPackage:
    folder = tmp_path_factory.mktemp("package")
    return aweigh.pack(network(folder / "network.onnx"), "network", sample=rows(), also=["openvino"], home=str(folder / "home"))


def test_a_variant_for_openvino_is_proven_beside_the_first_and_its_trap_repaired(package: StoredPackage) -> None:
    first, other = package.manifest.variants
    assert (first.runtime, other.name, other.runtime, other.files) == ("onnxruntime", "openvino", "openvino", first.files)
    assert other.evidence is not None
    assert other.evidence.passed
    assert other.evidence.repairs[0].startswith("openvino: parity failed (case 'missing'")  # its Relu makes a number of NaN
    assert other.evidence.repairs[1] == "openvino, with rows that hold a NaN answered with NaN: passed"
    assert any(each.startswith("openvino==") for each in other.environment)


@pytest.mark.parametrize("processes", [1, 2])
def test_it_answers_from_its_environment_in_processes(package: StoredPackage, processes: int) -> None:
    settings = Settings(home=str(package.blobs.store.parent), processes=processes)
    loaded = load_model(package, settings, variant="openvino")
    try:
        assert loaded.report.executor == "process"
        assert "is in the environment 'openvino', not here" in loaded.report.why
        assert loaded.report.variant_why == "asked for by name"
        first = load_model(package, settings)
        try:
            x = {"x": rows()}
            alike(loaded.session.run(x)[0], first.session.run(x)[0])
            assert first.report.variant_why.startswith("the quickest that is proven: onnx ")
        finally:
            first.close()
    finally:
        loaded.close()


def session_of(package: StoredPackage, file: Path | None = None, **options: str) -> Session:
    variant = package.manifest.variant("openvino")
    assert isinstance(variant, Variant)
    changed = msgspec.structs.replace(variant, options={**variant.options, **options})
    path: Callable[[str], Path] = (lambda _: file) if file is not None else package.path
    return load_session(changed, package.manifest.session_signature, path, environments=environments())


def replay_once(package: StoredPackage, session: Session) -> None:
    with contextlib.closing(session):
        replay(session, package.manifest.signature, read_golden(package.manifest, package.path))


def test_answers_in_bfloat16_never_become_ready(package: StoredPackage, tmp_path: Path) -> None:
    """What a processor with bfloat16 does where it is let: the weights keep eight bits. The same by the hint, where this processor has it."""
    rounded = network(tmp_path / "rounded.onnx", rounded=True)
    with pytest.raises(GoldenMismatch, match="sample"):
        replay_once(package, session_of(package, rounded))
    refusal = r"is to compute in bf16, and OpenVINO computes in f32 on this CPU"  # it has no instructions for it
    with pytest.raises((GoldenMismatch, Unsupported), match=f"sample|{refusal}"):
        replay_once(package, session_of(package, inference_precision="bf16"))


@pytest.mark.parametrize("asked", ["f32", "bf16", "f16"])
def test_a_precision_that_is_not_used_is_refused(asked: str, tmp_path: Path) -> None:
    """Read back from the library itself, beside what the processor says it has."""
    numbers("openvino", tmp_path)
    script = f"""
        import json
        import numpy, openvino
        from aweigh.core.errors import Unsupported
        from aweigh.core.package import Variant
        from aweigh.core.signature import Signature, TensorSpec
        from aweigh.core.tensors import Datatype
        from aweigh.runtimes.openvino import OpenVinoRuntime, precision_of
        from pathlib import Path
        core = openvino.Core()
        compiled = core.compile_model(core.read_model("numbers.onnx"), "CPU", {{"INFERENCE_PRECISION_HINT": "{asked}"}})
        told = {{"used": precision_of(compiled), "can": [each.lower().replace("fp", "f") for each in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")]}}
        signature = Signature(
            inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=("batch", 4)),),
            outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=("batch", 3)),),
        )
        variant = Variant(name="v", runtime="openvino", precision="fp32", files=("numbers.onnx",), options={{"inference_precision": "{asked}"}})
        try:
            OpenVinoRuntime().load(variant, signature, Path).close()
            told["refused"] = ""
        except Unsupported as error:
            told["refused"] = error.message
        Path("told.json").write_text(json.dumps(told))
    """
    told = json.loads((make("openvino", script, tmp_path) / "told.json").read_text())
    assert (told["used"] == asked) == (asked in told["can"]), told
    assert bool(told["refused"]) == (told["used"] != asked), told
    assert asked != "f32" or told["used"] == "f32"


def test_hooks_run_with_the_callers_libraries_and_the_model_in_its_environment(tmp_path: Path) -> None:
    """The hook imports what the environment does not have."""
    (tmp_path / "doubling.py").write_text("import sklearn\n\ndef post(tensors):\n    return {'y': tensors['y'] * 2}\n")
    network(tmp_path / "network.onnx")
    np.savez(tmp_path / "rows.npz", x=rows())
    command = [sys.executable, "-m", "aweigh", "--home", str(tmp_path / "home")]
    words = ["pack", "network.onnx", "--name", "hooked", "--sample", "rows.npz", "--post", "doubling:post", "--also", "openvino"]
    done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    with (
        aweigh.load("hooked", variant="openvino", home=str(tmp_path / "home")) as model,
        aweigh.load("hooked", home=str(tmp_path / "home")) as other,
    ):
        alike(model.infer({"x": rows()})["y"], other.infer({"x": rows()})["y"])


def test_an_execution_provider_answers_as_the_processor(tmp_path: Path) -> None:
    """OpenVINO's, from a wheel of ONNX Runtime that takes the place of the usual one, in an environment made for the test."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", tmp_path / "venv", "--python", sys.executable], check=True, timeout=60)
    wheels = ["onnxruntime-openvino==1.24.1", "msgspec", "numpy"]
    subprocess.run([uv, "pip", "install", "-q", "--python", tmp_path / "venv" / "bin" / "python", *wheels], check=True, timeout=300)
    sample = numbers("onnxruntime", tmp_path)
    home = msgspec.structs.replace(environments().home("openvino"), python=str(tmp_path / "venv" / "bin" / "python"))
    variant = msgspec.structs.replace(sample.variant, options={"providers": "openvino"})
    session = ProcessRuntime(home=home).load(variant, sample.signature, sample.path)
    try:
        for expected, actual in zip(sample.expected, session.run(sample.inputs), strict=True):
            alike(actual, expected)
    finally:
        session.close()

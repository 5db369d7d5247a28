"""Bundles: what the runner cannot do is refused by name when they are made; the same package gives the same bytes."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.deploy.jobs import job, target

from aweigh.core.errors import Unsupported
from aweigh.core.package import Hooks, PackageManifest, Part, Provenance, Variant
from aweigh.core.signature import BATCH, Signature, Task, TensorSpec
from aweigh.core.steps import TextStep
from aweigh.core.tensors import Datatype
from aweigh.deploy.bundle import check_runner, runner_code

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 4)),),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH,)),),
)
ONNX = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("m.onnx",))


def manifest(*variants: Variant, **more: Any) -> PackageManifest:
    made = {"signature": SIGNATURE, "golden": (), "provenance": Provenance(framework="test"), **more}
    return PackageManifest(format_version=1, variants=variants or (ONNX,), **made)


def changed(of: Variant = ONNX, **fields: Any) -> Variant:
    return msgspec.structs.replace(of, **fields)


def test_what_the_runner_does_is_let_through() -> None:
    check_runner(manifest(), ONNX)
    check_runner(manifest(), changed(options={"graph_optimization_level": "basic", "config:session.x": "1", "lowercase:x": True}))
    check_runner(manifest(), changed(runtime="litert", options={"signature": "serving_default"}))


@pytest.mark.parametrize(
    ("variant", "more", "said"),
    [
        (changed(runtime="sklearn"), {}, "runs by sklearn"),
        (ONNX, {"parts": (Part(name="a", version=1, digest="sha256:" + "0" * 64),)}, "a pipeline"),
        (ONNX, {"hooks": Hooks(pre="m:f")}, "hooks"),
        (
            changed(step=TextStep(tokenizer="t", texts=("x",), max_tokens=8, model_signature=SIGNATURE)),
            {},
            "a step before the model, 'text'",
        ),
        (changed(options={"providers": "cuda"}), {}, "the option 'providers'"),
        (changed(runtime="litert", options={"delegate": "edgetpu"}), {}, "the option 'delegate'"),
        (ONNX, {"signature": msgspec.structs.replace(SIGNATURE, task=Task.DETECTION)}, "are boxes"),
        (
            changed(runtime="litert"),
            {"signature": msgspec.structs.replace(SIGNATURE, inputs=(TensorSpec(name="x", datatype=Datatype.BYTES, shape=(BATCH,)),))},
            "holds texts",
        ),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(variant: Variant, more: dict[str, Any], said: str) -> None:
    with pytest.raises(Unsupported, match=said) as refused:
        check_runner(manifest(variant, **more), variant)
    assert "aweigh serve" in refused.value.hint


def test_another_variant_is_named_where_it_would_do() -> None:
    native = changed(name="native", runtime="sklearn")
    with pytest.raises(Unsupported) as refused:
        check_runner(manifest(native, ONNX), native)
    assert refused.value.hint == "choose --variant onnx"


def test_code_has_bytecode_of_this_python_alone_and_is_the_same_each_time() -> None:
    here = (sys.version_info.major, sys.version_info.minor)
    files = runner_code(here)
    assert files == runner_code(here)
    assert any(name.endswith(f"{sys.implementation.cache_tag}.pyc") for name in files)
    assert not any(name.endswith(".pyc") for name in runner_code((3, 2)))
    assert {"run.py", "runner/main.py"} <= set(files)


def test_the_runner_imports_the_standard_library_alone() -> None:
    import ast

    names = set()
    for name, content in runner_code((3, 2)).items():
        assert isinstance(content, bytes)
        for node in ast.walk(ast.parse(content, name)):
            if isinstance(node, ast.Import):
                names |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).partition(".")[0])
    assert names <= sys.stdlib_module_names
    slow = {
        "asyncio",
        "dataclasses",
        "email",
        "enum",
        "functools",
        "http",
        "json",
        "logging",
        "re",
        "socket",
        "threading",
        "typing",
        "urllib",
    }
    assert names & slow <= {"typing"}  # for whoever checks types


def test_settings_are_json(tmp_path: Path) -> None:
    from tests.runner.kit import settings_of

    told = settings_of(SIGNATURE, name="x")
    assert json.loads(json.dumps(told)) == told
    assert told["outputs"][0]["tolerance"] == {"atol": 1e-5, "rtol": 1e-4, "scale": 2e-6}


def shape(value: Any) -> Any:
    """What a document is made of, whatever its texts say."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize("text", ['"', "\\", "a\nb: c", "{{ x }}", "$(id)", "\u2028", "\x00", "é"])
def test_texts_of_a_package_do_not_change_what_the_settings_are_made_of(text: str) -> None:
    from tests.runner.kit import settings_of

    def named(label: str) -> Signature:
        spec = TensorSpec(name=label, datatype=Datatype.FP32, shape=(BATCH,))
        return Signature(inputs=(spec,), outputs=(TensorSpec(name=label, datatype=Datatype.FP32, shape=(BATCH,)),), labels=(label,))

    assert shape(settings_of(named(text))) == shape(settings_of(named("benign")))
    assert settings_of(named(text))["inputs"][0]["name"] == text


def test_a_machine_without_glibc_makes_it_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    (told,) = target("runner").check(tmp_path, job(tmp_path, "runner", set_={"platform": "linux/amd64"}))
    assert (told.fatal, told.message) == (False, "made for another platform, so it was not started here")
    with pytest.raises(Unsupported, match="is not made for") as refused:
        target("runner").check(tmp_path, job(tmp_path, "runner"))
    assert refused.value.hint is not None
    assert "--set platform=linux/amd64" in refused.value.hint

"""Where runtimes run whose libraries are missing; execution providers by name. Nothing is installed here."""

import sys
from pathlib import Path

import msgspec
import pytest
from tests.contract.test_runtimes import numbers

from aweigh.core import plugins
from aweigh.core.errors import MissingLibrary, Unsupported
from aweigh.core.package import FORMAT_VERSION, Hooks, PackageManifest, Provenance, Variant
from aweigh.core.plugins import Plugin
from aweigh.core.signature import Signature
from aweigh.isolate import Environments
from aweigh.isolate.process import HERE
from aweigh.runtimes import load_session
from aweigh.runtimes.homes import can_run, home_of, process_home
from aweigh.runtimes.onnxruntime_providers import asked_providers, check_taken

SIGNATURE = Signature(inputs=(), outputs=())


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> str:
    """A runtime whose library is nowhere, that the environment `pack` is said to have."""
    row = Plugin(kind="runtime", name="far", target="far.away:Runtime", libraries=("no_such_library",), extra="far", environment="pack")
    table = {**plugins._table(), ("runtime", "far"): row}
    monkeypatch.setattr(plugins, "_table", lambda: table)
    return row.name


def there(folder: Path) -> Environments:
    """A folder in which the environment `pack` lies, as far as one can see."""
    environments = Environments(folder, allowed=False)
    python = environments._place("pack") / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return environments


def test_what_is_installed_runs_here(tmp_path: Path) -> None:
    assert can_run("onnxruntime", None)
    assert home_of("onnxruntime", Environments(tmp_path)) == HERE


def test_what_is_missing_runs_in_its_environment(far: str, tmp_path: Path) -> None:
    environments = there(tmp_path)
    assert can_run(far, environments)
    home = home_of(far, environments)
    assert home.python == str(environments._place("pack") / "bin" / "python")
    assert (Path(home.code) / "aweigh" / "__init__.py").is_file()


def test_without_an_environment_it_says_what_to_install_and_what_to_make(far: str, tmp_path: Path) -> None:
    for environments in (None, Environments(tmp_path, allowed=False)):
        assert not can_run(far, environments)
        with pytest.raises(MissingLibrary, match="needs no_such_library, which is not installed") as caught:
            load_session(Variant(name="v", runtime=far, precision="fp32"), SIGNATURE, Path, environments=environments)
        assert "pip install 'aweigh[far]'" in caught.value.hint
        assert ("'aweigh env make pack'" in caught.value.hint) == (environments is not None)
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_of_another_system_is_not_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environments = there(tmp_path)
    for system in ("darwin", "linux"):
        row = Plugin(kind="runtime", name="near", target="a:b", environment="pack", system=system)
        table = {**plugins._table(), ("runtime", "near"): row}
        with monkeypatch.context() as patched:
            patched.setattr(plugins, "_table", lambda table=table: table)
            if system == sys.platform:
                assert can_run("near", environments)
                continue
            assert not can_run("near", environments)
            with pytest.raises(Unsupported, match="alone can run what 'near' runs; this is"):
                home_of("near", environments)


def test_hooks_stay_with_the_callers_libraries(far: str, tmp_path: Path) -> None:
    environments, variant = there(tmp_path), Variant(name="v", runtime=far, precision="fp32")
    manifest = PackageManifest(
        format_version=FORMAT_VERSION, signature=SIGNATURE, variants=(variant,), golden=(), provenance=Provenance(framework="test")
    )
    assert process_home(manifest, variant, environments) == home_of(far, environments)
    hooked = PackageManifest(
        format_version=FORMAT_VERSION,
        signature=SIGNATURE,
        variants=(variant,),
        golden=(),
        provenance=Provenance(framework="test"),
        hooks=Hooks(pre="hook:pre", model_signature=SIGNATURE),
    )
    around = process_home(hooked, variant, environments)
    assert (around.python, around.code, around.environments) == (HERE.python, "", str(tmp_path))


def asking(**options: str | int) -> Variant:
    return Variant(name="v", runtime="onnxruntime", precision="fp32", options=options)


def test_providers_by_name_with_the_processor_last() -> None:
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert asked_providers(asking(), available) == [("CPUExecutionProvider", {})]
    asked = asked_providers(asking(**{"providers": "cuda", "provider:device_id": 1}), available)
    assert asked == [("CUDAExecutionProvider", {"use_tf32": "0", "device_id": "1"}), ("CPUExecutionProvider", {})]
    with pytest.raises(Unsupported, match="fell back to CPUExecutionProvider"):
        check_taken(asking(), asked, ["CPUExecutionProvider"])
    check_taken(asking(), asked, available)


WHEELS = {
    "openvino": "install onnxruntime-openvino in place of onnxruntime",
    "cuda": "install onnxruntime-gpu in place of onnxruntime; not run on an NVIDIA GPU: the golden replay on yours decides",
    "tensorrt": "install onnxruntime-gpu in place of onnxruntime; not run on an NVIDIA GPU: the golden replay on yours decides",
    "qnn": "install onnxruntime-qnn in place of onnxruntime; not run on a Qualcomm NPU: the golden replay on yours decides",
    "coreml": "install onnxruntime on macOS; not run on macOS: the golden replay on yours decides",
    "vitisai": "install onnxruntime-vitisai, of AMD's Ryzen AI software, in place of onnxruntime; not run on an AMD NPU or FPGA: the golden replay on yours decides",
    "directml": "install onnxruntime-directml in place of onnxruntime; not run on Windows: the golden replay on yours decides",
    "migraphx": "install onnxruntime-migraphx in place of onnxruntime; not run on an AMD GPU: the golden replay on yours decides",
}


@pytest.mark.parametrize("name", WHEELS)
def test_a_provider_that_is_not_there_is_refused_with_its_wheel(name: str, tmp_path: Path) -> None:
    """By the library that is installed here, at load; and where it was never run, that is said."""
    sample = numbers("onnxruntime", tmp_path)
    variant = msgspec.structs.replace(sample.variant, options={"providers": name})
    with pytest.raises(MissingLibrary, match=f"'{name}', which this ONNX Runtime does not have; it has: cpu") as caught:
        load_session(variant, sample.signature, sample.path)
    assert caught.value.hint == WHEELS[name]


def test_every_provider_is_tried_so() -> None:
    assert set(WHEELS) == {row.name for row in plugins.plugins("provider")} - {"cpu"}
    with pytest.raises(Unsupported, match="no provider named 'cdua'") as near:
        asked_providers(asking(providers="cdua"), ["CPUExecutionProvider"])
    assert near.value.hint == "did you mean 'cuda'?"


def test_providers_that_were_not_run_say_so() -> None:
    rows = {row.name: row for row in plugins.plugins("provider")}
    assert not rows["cpu"].experimental
    assert all(row.experimental for name, row in rows.items() if name not in {"cpu", "openvino"})

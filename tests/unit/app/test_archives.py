"""Export, import, fsck and collect through the commands that a person types; what is in an imported package is judged before it is visible."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from aweigh.app.archives import export_package, import_package
from aweigh.app.packages import list_packages, open_store
from aweigh.cli import main as cli
from aweigh.core import plugins
from aweigh.core.errors import InvalidName, MissingLibrary, NotTrusted, Refused
from aweigh.core.evidence import Evidence, Machine, Strength
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.names import model_name
from aweigh.core.package import Hooks, PackageManifest, Provenance, Variant
from aweigh.core.protocols import Draft
from aweigh.core.settings import Settings
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.engine.lifecycle import load_model

ENTRY = "variants/onnx/model.onnx"


def onnx_bytes(location: str = "") -> bytes:
    """y = x + 1, with its constant in the file or at `location`."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    if location:
        one.ClearField("float_data")
        one.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "4")):
            one.external_data.add(key=key, value=value)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "g", [x], [y], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def draft(content: bytes | None = None, *, runtime: str = "onnxruntime", right: float = 1.0, **changes: object) -> Draft:
    specs = [TensorSpec(name=name, datatype=Datatype.FP32, shape=("batch", 2)) for name in "xy"]
    signature = Signature(inputs=(specs[0],), outputs=(specs[1],))
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    cases, files = golden_files(signature, [GoldenAnswers(name="sample", why="given", inputs={"x": x}, outputs=[x + np.float32(right)])])
    variant = Variant(name="onnx", runtime=runtime, precision="float32", files=(ENTRY,))
    manifest = PackageManifest(
        format_version=1, signature=signature, variants=(variant,), golden=cases, provenance=Provenance(framework="onnx")
    )
    entry = onnx_bytes() if content is None else content
    return Draft(manifest=msgspec.structs.replace(manifest, **changes), files={**files, ENTRY: entry})


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(home=str(tmp_path / "here"))


@pytest.fixture
def there(tmp_path: Path) -> Settings:
    return Settings(home=str(tmp_path / "there"))


def shipped(here: Settings, tmp_path: Path, package: Draft) -> Path:
    """The file of a package that someone else made."""
    open_store(here).publish(model_name("plus"), package)
    export_package(here, "plus", tmp_path / "plus.tar")
    return tmp_path / "plus.tar"


def call(settings: Settings, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--home", settings.home])
    return int(ended.value.code or 0)


def test_a_package_travels_as_one_file(here: Settings, there: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_store(here).publish(model_name("plus"), draft())
    file = str(tmp_path / "plus.tar")
    assert call(here, "export", "plus", file, "--json") == 0
    exported = json.loads(capsys.readouterr().out)
    assert (exported["model"], exported["size_bytes"]) == ("plus:1", Path(file).stat().st_size)
    assert call(there, "import", file) == 0
    assert "answers the golden set on this machine as it should" in capsys.readouterr().out
    assert call(there, "import", file, "--name", "other", "--json") == 0
    imported = json.loads(capsys.readouterr().out)
    assert (imported["model"], imported["digest"]) == ("other:1", exported["digest"])
    assert imported["variants"] == [{"name": "onnx", "tried": True, "passed": True, "note": ""}]
    assert [line.origin for line in list_packages(there)] == ["archive plus.tar"] * 2


def test_answers_that_differ_here_are_said(here: Settings, there: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(there, "import", str(shipped(here, tmp_path, draft(right=2.0)))) == 0
    assert "answers the golden set differently on this machine" in capsys.readouterr().err


CODE = {
    "a runtime that runs code": draft(b"x", runtime="sklearn"),
    "a runtime that is not known": draft(b"x", runtime="from-elsewhere"),
    "hooks": draft(hooks=Hooks(pre="evil:run", files=(ENTRY,))),
    "a hook without files": draft(hooks=Hooks(post="os:abort")),
    "a pickle, by its own word": draft(contains_pickle=True),
}


@pytest.mark.parametrize("case", CODE)
def test_code_needs_trust(here: Settings, there: Settings, tmp_path: Path, case: str) -> None:
    file = shipped(here, tmp_path, CODE[case])
    with pytest.raises(NotTrusted, match="runs code that came with it"):
        import_package(there, file)
    assert list_packages(there) == []


def test_a_runtime_that_is_not_known_is_said_and_not_tried(here: Settings, there: Settings, tmp_path: Path) -> None:
    adopted = import_package(there, shipped(here, tmp_path, CODE["a runtime that is not known"]), trust=True)
    assert [(trial.tried, trial.note) for trial in adopted.trials] == [(False, "there is no runtime named 'from-elsewhere'")]


@pytest.fixture
def without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """The runtime's library is not there, until called."""
    rows = plugins._BUILT_IN
    gone = tuple(
        dataclasses.replace(row, libraries=("no_such_library",), extra="pack")
        if (row.kind, row.name) == ("runtime", "onnxruntime")
        else row
        for row in rows
    )

    def have(these: tuple[plugins.Plugin, ...]) -> None:
        plugins._table.cache_clear()
        monkeypatch.setattr(plugins, "_BUILT_IN", these)

    have(gone)
    yield lambda: have(rows)
    plugins._table.cache_clear()


def test_what_could_not_be_tried_is_not_served_until_it_is(
    here: Settings, there: Settings, tmp_path: Path, without_onnxruntime: Callable[[], None]
) -> None:
    machine = Machine(system="Linux", architecture="x", processor="p", cores=1)
    evidence = Evidence(passed=True, strength=Strength.FULL, data="sample", machine=machine, made_at="2026-01-01T00:00:00Z", checks=())
    proven = tuple(msgspec.structs.replace(each, evidence=evidence) for each in draft().manifest.variants)
    file = shipped(here, tmp_path, draft(variants=proven))
    imported = import_package(there, file)
    assert [(trial.tried, trial.note) for trial in imported.trials] == [
        (False, "needs no_such_library, which is not installed: pip install 'aweigh[pack]'")
    ]
    with pytest.raises(MissingLibrary) as missing:
        load_model(open_store(there).open(imported.package.reference), there)
    assert "the runtime 'onnxruntime' needs no_such_library, which is not installed" in missing.value.message
    assert missing.value.hint == "pip install 'aweigh[pack]'"
    without_onnxruntime()
    with pytest.raises(NotTrusted, match=r"variant 'onnx' of .*:1 came from elsewhere and was not tried on this machine") as untried:
        load_model(open_store(there).open(imported.package.reference), there)
    assert "import or pull the package again" in untried.value.hint
    again = import_package(there, file)
    assert (again.package.reference, [trial.tried for trial in again.trials]) == (imported.package.reference, [True])
    load_model(open_store(there).open(imported.package.reference), there).close()
    assert len(list_packages(there)) == 1


@pytest.mark.parametrize(
    "content", [b"garbage", b"", onnx_bytes()[:-20], onnx_bytes("/etc/passwd"), onnx_bytes("../../../../../../../etc/passwd")]
)
def test_a_file_that_does_not_load_is_refused_and_nothing_is_visible(
    here: Settings, there: Settings, tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(Refused, match="cannot be loaded"):
        import_package(there, shipped(here, tmp_path, draft(content)))
    assert list_packages(there) == []


def test_an_archive_without_a_name_needs_one(here: Settings, there: Settings, tmp_path: Path) -> None:
    file = shipped(here, tmp_path, draft())
    file.write_bytes(file.read_bytes().replace(b'"plus:1"', b'"../pl1"'))
    with pytest.raises(InvalidName, match="does not say"):
        import_package(there, file)
    with pytest.raises(InvalidName):
        import_package(there, file, name="../x")


def test_fsck_and_collect(here: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = open_store(here).publish(model_name("plus"), draft())
    assert call(here, "fsck") == 0
    assert "nothing is damaged" in capsys.readouterr().out
    blob = package.blobs.path(package.manifest.files[0].digest)
    blob.chmod(0o644)
    blob.write_bytes(b"damaged")
    assert call(here, "fsck") == 1
    printed = capsys.readouterr().out
    assert "affects plus:1" in printed
    assert call(here, "fsck", "--json", "--repair") == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["what"] == "blob"
    assert call(here, "remove", "plus:1") == 0
    capsys.readouterr()
    assert call(here, "collect", "--grace-s", "0", "--json") == 0
    assert json.loads(capsys.readouterr().out)["blobs"] == 5


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Variant:
    """A variant whose runtime is there, and runs on another system alone."""
    system = "darwin" if sys.platform != "darwin" else "linux"
    row = plugins.Plugin(kind="runtime", name="apple", target="no.such:Runtime", system=system)
    table = {**plugins._table(), ("runtime", "apple"): row}
    monkeypatch.setattr(plugins, "_table", lambda: table)
    return Variant(name="phone", runtime="apple", precision="fp16", files=(ENTRY,))


def test_a_variant_of_another_system_is_named_and_not_tried(
    here: Settings, there: Settings, elsewhere: Variant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = draft()
    both = dataclasses.replace(own, manifest=msgspec.structs.replace(own.manifest, variants=(*own.manifest.variants, elsewhere)))
    file = shipped(here, tmp_path, both)
    assert call(here, "verify", "plus", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found["variants"]] == ["onnx"]
    assert found["passed"]
    assert [each["name"] for each in found["skipped"]] == ["phone"]
    assert "alone can run what 'apple' runs; this is" in found["skipped"][0]["why"]
    taken = import_package(there, file)
    assert [(each.variant, each.tried) for each in taken.trials] == [("onnx", True), ("phone", False)]
    alone = dataclasses.replace(own, manifest=msgspec.structs.replace(own.manifest, variants=(elsewhere,)))
    open_store(here).publish(model_name("phone"), alone)
    assert call(here, "verify", "phone") != 0

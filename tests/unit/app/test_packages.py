"""Looking after the store, through the commands that a person types."""

import json
from pathlib import Path

import numpy as np
import pytest

from aweigh.app.packages import list_packages, open_store, remove_package, set_alias, show_package
from aweigh.cli import main as cli
from aweigh.core.errors import Conflict, InvalidInput, InvalidName, ModelNotFound
from aweigh.core.evidence import Check, Evidence, Machine, Strength, WorstInput
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.names import model_name
from aweigh.core.package import PackageManifest, Provenance, Variant
from aweigh.core.protocols import Draft
from aweigh.core.settings import Settings
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype

ENTRY = "variants/onnx/model.onnx"


def _evidence() -> Evidence:
    worst = WorstInput(case="edges", row=1, output="y", inputs="x=[nan]", expected="0", actual="1\x1b[31m")
    return Evidence(
        passed=True,
        strength=Strength.FULL,
        data="150 rows of iris.csv",
        made_at="2026-01-01T00:00:00Z",
        machine=Machine(system="Linux", architecture="x86_64", processor="one", cores=2),
        checks=(Check(name="golden", passed=True, figures={"max_abs": None, "flips": 0.0}, limits={"flips": 0.0}, worst=(worst,)),),
        figures={"latency_us_b1": 12.5},
    )


def _draft() -> Draft:
    spec = TensorSpec(name="x", datatype=Datatype.FP32, shape=("batch", 4))
    signature = Signature(inputs=(spec,), outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=("batch", 4)),))
    zeros = np.zeros((3, 4), np.float32)
    cases, files = golden_files(signature, [GoldenAnswers(name="sample", why="what was given", inputs={"x": zeros}, outputs=[zeros])])
    variant = Variant(name="onnx", runtime="null", precision="float32", files=(ENTRY,), evidence=_evidence())
    manifest = PackageManifest(
        format_version=1, signature=signature, variants=(variant,), golden=cases, provenance=Provenance(framework="onnx")
    )
    return Draft(manifest=manifest, files={**files, ENTRY: b"weights"})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home with iris:1 and iris:2."""
    made = Settings(home=str(tmp_path / "home"))
    for _ in range(2):
        open_store(made).publish(model_name("iris"), _draft())
    return made


def call(settings: Settings, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--home", settings.home])
    return int(ended.value.code or 0)


def test_an_alias_names_a_version_until_it_is_removed(settings: Settings) -> None:
    assert str(set_alias(settings, "iris:1", "champion")) == "iris:1"
    package, aliases = show_package(settings, "iris@champion")
    assert (package.reference.version, aliases) == (1, ["champion"])
    assert [str(gone) for gone in remove_package(settings, "iris@champion")] == ["iris@champion"]
    with pytest.raises(ModelNotFound):
        show_package(settings, "iris@champion")
    assert len(list_packages(settings)) == 2


def test_a_bare_name_means_the_newest_for_reading_and_is_refused_for_removing(settings: Settings) -> None:
    assert show_package(settings, "iris")[0].reference.version == 2
    with pytest.raises(InvalidInput, match="say which one"):
        remove_package(settings, "iris")


def test_a_version_with_an_alias_goes_only_by_force(settings: Settings) -> None:
    set_alias(settings, "iris", "champion")
    with pytest.raises(Conflict):
        remove_package(settings, "iris:2")
    remove_package(settings, "iris:2", force=True)
    assert [line.version for line in list_packages(settings)] == [1]


def test_a_whole_model_goes_by_all(settings: Settings) -> None:
    with pytest.raises(InvalidInput):
        remove_package(settings, "iris:1", every_version=True)
    assert len(remove_package(settings, "iris", every_version=True)) == 2
    assert list_packages(settings) == []
    with pytest.raises(ModelNotFound):
        remove_package(settings, "iris", every_version=True)


@pytest.mark.parametrize(("model", "alias"), [("../x", "a"), ("iris", "1"), ("iris:0", "a")])
def test_names_are_checked(settings: Settings, model: str, alias: str) -> None:
    with pytest.raises(InvalidName):
        set_alias(settings, model, alias)


def test_models_lists_and_an_empty_store_says_what_to_do(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(settings, "models", "--json") == 0
    assert [line["version"] for line in json.loads(capsys.readouterr().out)["models"]] == [1, 2]
    assert call(settings, "models") == 0
    assert "iris:2" in capsys.readouterr().out
    assert call(Settings(home=str(tmp_path / "other")), "models") == 0
    assert "aweigh pack FILE --name NAME" in capsys.readouterr().out
    assert not (tmp_path / "other").exists()


def test_show_draws_the_evidence_and_obeys_no_escape_in_it(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(settings, "show", "iris") == 0
    printed = capsys.readouterr().out
    for text in ("[batch, 4]", "150 rows of iris.csv", "flips 0 (0)", "max_abs -", "edges[1]", "latency_us_b1", "what was given"):
        assert text in printed
    assert "\x1b" not in printed
    assert call(settings, "show", "iris:1", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == "iris:1"
    assert document["manifest"]["variants"][0]["evidence"]["checks"][0]["figures"] == {"flips": 0.0, "max_abs": None}


def test_alias_and_remove_say_what_they_did(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(settings, "alias", "iris", "champion") == 0
    assert capsys.readouterr().out == "iris@champion is now iris:2\n"
    assert call(settings, "remove", "iris:2") == 1
    assert "--force" in capsys.readouterr().err
    assert call(settings, "remove", "iris:2", "--force", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"removed": ["iris:2"]}


def test_a_model_that_is_not_there_is_exit_code_3(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(settings, "show", "irsi") == 3
    assert "did you mean 'iris'?" in capsys.readouterr().err

"""A pipeline keeps its parts: they cannot be removed under it, and where it goes without them it says which are missing."""

import json
import subprocess
from pathlib import Path

import msgspec
import pytest
from tests.serving.served import AWEIGH

import aweigh
from aweigh.app.archives import export_package, import_package
from aweigh.app.packages import check_store, open_store, remove_package
from aweigh.core.errors import Conflict, InvalidFile, InvalidInput, ModelNotFound, NotTrusted
from aweigh.core.names import ModelName, parse_reference
from aweigh.core.package import Hooks
from aweigh.core.protocols import Draft
from aweigh.core.settings import Settings, read_settings
from aweigh.store import StoredPackage


@pytest.fixture
def there(copied: Path) -> Settings:
    return read_settings({"home": str(copied)})[0]


def elsewhere(tmp_path: Path) -> Settings:
    return read_settings({"home": str(tmp_path / "elsewhere")})[0]


def test_a_part_cannot_be_removed_while_a_pipeline_needs_it(there: Settings) -> None:
    for every_version, force in ((False, False), (False, True), (True, False)):
        with pytest.raises(Conflict, match=r"tree:1 is a step of pipeline 'checkout:1', 'votes:1'"):
            remove_package(there, "tree", every_version=every_version, force=force)
    store = open_store(there)
    store.collect(grace_s=-1)
    for name in ("checkout", "votes"):
        with aweigh.load(name, home=there.home) as model:
            assert model.signature.inputs
    for name in ("checkout", "votes"):
        remove_package(there, name)
    assert [str(each) for each in remove_package(there, "tree")] == ["tree:1"]


def test_a_pipeline_is_taken_in_where_its_parts_are_and_refused_by_name_where_not(there: Settings, tmp_path: Path) -> None:
    other = elsewhere(tmp_path)
    for name in ("votes", "linear", "tree", "deep"):
        export_package(there, name, tmp_path / f"{name}.tar")
    import_package(other, tmp_path / "linear.tar")
    with pytest.raises(ModelNotFound, match=r"needs tree:1 \(sha256:.*, deep:1 \(sha256:") as caught:
        import_package(other, tmp_path / "votes.tar")
    assert "import or pull tree:1, deep:1 first" in caught.value.hint
    import_package(other, tmp_path / "tree.tar", name="oak")
    import_package(other, tmp_path / "deep.tar")
    adopted = import_package(other, tmp_path / "votes.tar")
    assert [trial.passed for trial in adopted.trials] == [True], "its parts are found by digest, whatever they are called"
    assert adopted.package.digest == open_store(there).open(parse_reference("votes")).digest
    with pytest.raises(Conflict, match="oak:1 is a step of pipeline 'votes:1'"):
        remove_package(other, "oak")


def test_functions_ask_for_trust_wherever_they_come_from(there: Settings, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotTrusted, match=r"checkout.toml: step 'scale' runs code from features.py"):
        aweigh.pack(str(folder / "checkout.toml"), "checkout", sample=str(folder / "raw.npy"), home=there.home)
    other = elsewhere(tmp_path)
    for name in ("linear", "tree", "deep", "checkout"):
        export_package(there, name, tmp_path / f"{name}.tar")
        if name != "checkout":
            import_package(other, tmp_path / f"{name}.tar")
    with pytest.raises(NotTrusted, match="has hooks"):
        import_package(other, tmp_path / "checkout.tar")
    assert [trial.passed for trial in import_package(other, tmp_path / "checkout.tar", trust=True).trials] == [True]


def test_a_part_that_was_lost_is_named_by_loading_and_by_fsck(there: Settings) -> None:
    index = open_store(there).folder / "index.json"
    entries = json.loads(index.read_text())
    entries["manifests"] = [each for each in entries["manifests"] if each["annotations"]["org.opencontainers.image.ref.name"] != "linear:1"]
    index.write_text(json.dumps(entries))
    problems = {finding.place: finding.problem for finding in check_store(there).findings}
    assert set(problems) == {"checkout:1", "votes:1"}
    assert "it needs linear:1" in problems["votes:1"]
    with pytest.raises(ModelNotFound, match=r"step 'linear' of pipeline 'votes:1': it needs linear:1 \(sha256:") as caught:
        aweigh.load("votes", home=there.home)
    assert "import or pull linear:1 first" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (('combine = "vote"', 'combine = "votes"'), "did you mean 'vote'?"),
        (('inputs = ["linear.label"', 'inputs = ["linaer.label"'), "did you mean 'linear.label'?"),
        (('inputs = ["linear.label"', 'inputs = ["linear.lable"'), "did you mean 'linear.label'?"),
        (('model = "deep"', 'model = "deeep"'), "did you mean 'deep'?"),
        (('model = "deep"', 'modell = "deep"'), "did you mean 'model'?"),
        (('model = "tree"', 'model = "tree"\ninputs = "vote.output"'), "the steps go in a circle: "),
        (('model = "tree"', 'function = "features.py:scale"\ninputs = ["X"]'), "--trust"),
    ],
)
def test_a_mistake_is_told_by_name_on_the_command_line(
    home: Path, folder: Path, tmp_path: Path, change: tuple[str, str], text: str
) -> None:
    written = (folder / "votes.toml").read_text()
    assert change[0] in written
    (tmp_path / "votes.toml").write_text(written.replace(*change, 1))
    done = subprocess.run(
        [AWEIGH, "pack", tmp_path / "votes.toml", "--name", "votes"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"AWEIGH_HOME": str(home), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode in (1, 2, 3)
    assert text in done.stderr, done.stderr


def test_a_pipeline_takes_no_labels_and_no_hooks(folder: Path, home: Path) -> None:
    with pytest.raises(InvalidInput, match="a pipeline takes no --labels"):
        aweigh.pack(str(folder / "votes.toml"), "votes", labels=[1], home=str(home))


def test_show_draws_the_graph(home: Path) -> None:
    done = subprocess.run(
        [AWEIGH, "show", "checkout"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"AWEIGH_HOME": str(home), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert "request (raw)\n└─ scale: function features.py:scale" in done.stdout
    assert "deep: deep:1  when both.output[1] > 0.5  + scale.X" in done.stdout
    assert "answer (label = answer.output, probabilities = both.output)" in done.stdout


def forged(settings: Settings, **changes: object) -> StoredPackage:
    """The pipeline with something else in its manifest."""
    package = open_store(settings).open(parse_reference("checkout"))
    manifest = msgspec.structs.replace(package.manifest, files=(), **changes)  # type: ignore[arg-type]  # fields of the manifest
    files = {file.path: package.path(file.path) for file in package.manifest.files}
    return open_store(settings).publish(ModelName("forged"), Draft(manifest=manifest, files=files))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"hooks": Hooks()}, "the code of step 'scale' is not among its hooks"),
        ({"parts": ()}, "step 'linear' is linear:1, which its manifest does not name"),
    ],
    ids=["code that no one was asked to trust", "parts that the store does not know of"],
)
def test_a_manifest_that_hides_what_the_graph_needs_is_refused_before_anything_runs(
    there: Settings, changes: dict[str, object], text: str
) -> None:
    forged(there, **changes)
    with pytest.raises(InvalidFile, match=text):
        aweigh.load("forged", home=there.home)


def test_a_signature_that_the_graph_does_not_give_is_refused(there: Settings) -> None:
    package = open_store(there).open(parse_reference("checkout"))
    signature = msgspec.structs.replace(package.manifest.signature, outputs=tuple(reversed(package.manifest.signature.outputs)))
    forged(there, signature=signature)
    with pytest.raises(InvalidFile, match="its graph does not give what its signature says"):
        aweigh.load("forged", home=there.home)

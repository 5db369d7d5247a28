"""What is kept of a deployment: a record before anything is made, so that what a client leaves behind where it fails can be taken away."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.deploying.packages import deploy, linear, publish
from tests.unit.deploy.test_applying import Told

from aweigh.app.deploy import DeployOptions, deploy_package, list_deployments, undeploy_package
from aweigh.core.errors import Conflict, InvalidInput, NotFound, Refused, Unsupported
from aweigh.core.settings import Settings

IMAGE = "registry.example/team/linear@sha256:" + "ab" * 32
CASES = {
    "cloud-run": ((), "services replace", "gcloud run services delete linear"),
    "compose": ((), "up --detach", "docker compose --project-name linear down"),
    "container-apps": (("resource_group=team",), "containerapp create", "az containerapp show --name linear --resource-group=team"),
    "docker": ((), "docker run", "docker rm --force linear-before"),
    "kserve": (("namespace=risk",), "wait --for", "kubectl --namespace=risk delete inferenceservices.serving.kserve.io"),
    "kubernetes": (("namespace=risk",), "rollout status", "kubectl --namespace=risk delete deployments,services"),
    "sagemaker": (
        ("role=arn:aws:iam::123456789012:role/models",),
        "create-endpoint ",
        "aws sagemaker delete-endpoint --endpoint-name linear",
    ),
    "vertex": ((), "deploy-model", "gcloud ai endpoints delete 7"),
    "podman": ((), "play kube", "podman pod rm --force --ignore linear"),
}
"""Target -> its options, the word at which the client fails, and what takes the half-made deployment away."""


class Failing(Told):
    """A client that loses its connection at one word, and from there on."""

    def __init__(self, at: str) -> None:
        super().__init__({"docker ps --all --quiet --filter name=^/?linear-before": "abc\n", **LISTED})
        self._at, self._lost = at, False

    def run(self, words: Sequence[str], *, stdin: bytes = b"", folder: Path | None = None, timeout_s: float = 600) -> str:
        self._lost = self._lost or self._at in " ".join(words)
        if self._lost:
            raise Refused("the connection was lost")
        if words[1:3] == ["containerapp", "show"] or words[2].startswith("describe-"):
            raise Refused("ResourceNotFound: Could not find it")
        return super().run(words, stdin=stdin, folder=folder, timeout_s=timeout_s)


IDS = '[{"name": "projects/1/locations/x/KIND/7", "displayName": "linear"}]'
LISTED = {f"gcloud ai {kind} list": IDS.replace("KIND", kind) for kind in ("endpoints", "models")}


class Gone(Told):
    """A client that finds nothing."""

    def run(self, words: Sequence[str], *, stdin: bytes = b"", folder: Path | None = None, timeout_s: float = 600) -> str:
        said = super().run(words, stdin=stdin, folder=folder, timeout_s=timeout_s)
        if words[0] in {"gcloud", "az", "aws"} and not said:
            raise Refused("ResourceNotFound: it could not be found")
        if words[0] == "kubectl":
            raise Refused('error: the server doesn\'t have a resource type "inferenceservices"')
        return said


@pytest.fixture
def settings(home: Path, tmp_path: Path) -> Settings:
    """A home of its own: records lie in it."""
    shutil.copytree(home, tmp_path / "home")
    return Settings(home=str(tmp_path / "home"))


@pytest.mark.parametrize("kind", CASES)
def test_what_failed_midway_is_known_and_taken_away(settings: Settings, tmp_path: Path, kind: str) -> None:
    options, at, taken = CASES[kind]
    asked = DeployOptions(target=kind, out=str(tmp_path / "out"), apply=True, image=IMAGE, set=options)
    with pytest.raises(Refused, match="the connection was lost"):
        deploy_package(settings, "linear", asked, commands=Failing(at))
    (found,) = list_deployments(settings)
    assert (found.name, found.target, found.unfinished) == ("linear", kind, True)
    told = Gone(LISTED) if kind != "docker" else Told({"docker ps --all --quiet --filter name=^/?linear-before": "abc\n"})
    undeploy_package(settings, "linear", commands=told)
    assert any(words.startswith(taken) for words in told.words), told.words
    assert list_deployments(settings) == []


def test_a_wrong_target_or_name_is_answered_with_what_there_is(settings: Settings, tmp_path: Path) -> None:
    asked = DeployOptions(target="kubernetes", out=str(tmp_path / "out"), apply=True, image=IMAGE)
    deploy_package(settings, "linear", asked, commands=Told())
    for name, target, hint in (
        ("linear", "kubernets", "it stands on kubernetes: say --to kubernetes"),
        ("liner", "", "did you mean 'linear'?"),
        ("other", "", "`aweigh deployments` lists what was"),
    ):
        with pytest.raises(NotFound) as unknown:
            undeploy_package(settings, name, target=target)
        assert unknown.value.hint == hint


def test_the_record_of_what_was_never_reached_can_be_dropped(settings: Settings, tmp_path: Path) -> None:
    asked = DeployOptions(target="kubernetes", out=str(tmp_path / "out"), apply=True, image=IMAGE)
    lost = Failing("kubectl")
    with pytest.raises(Refused):
        deploy_package(settings, "linear", asked, commands=lost)
    with pytest.raises(Refused) as failed:
        undeploy_package(settings, "linear", commands=lost)
    assert "aweigh undeploy linear --to kubernetes --forget" in failed.value.hint
    told = Told()
    undeploy_package(settings, "linear", forget=True, commands=told)
    assert (list_deployments(settings), told.words) == ([], [])


def test_a_record_is_finished_once_it_was_applied_and_keeps_what_was_there_before(settings: Settings, tmp_path: Path) -> None:
    def applied(*options: str) -> dict[str, str]:
        asked = DeployOptions(target="kubernetes", out=str(tmp_path / "out"), apply=True, image=IMAGE, force=True, set=options)
        done = deploy_package(settings, "linear", asked, commands=Told()).deployment
        assert done is not None
        assert list_deployments(settings) == [done]
        assert not done.unfinished
        return done.facts

    assert applied("monitoring=true")["monitoring"] == "yes"
    assert applied()["monitoring"] == "yes", "`kubectl apply` does not take the ServiceMonitor away: undeploying must"


def test_what_stands_elsewhere_is_not_forgotten(settings: Settings, tmp_path: Path) -> None:
    def apply(namespace: str, name: str = "", told: Told | None = None) -> None:
        asked = DeployOptions(
            target="kubernetes",
            out=str(tmp_path / f"out-{name}"),
            apply=True,
            image=IMAGE,
            force=True,
            set=(f"namespace={namespace}",),
            name=name,
        )
        deploy_package(settings, "linear", asked, commands=told or Told())

    apply("risk")
    told = Told()
    with pytest.raises(Conflict, match="stands on kubernetes with namespace 'risk', and this goes to 'fraud'") as elsewhere:
        apply("fraud", told=told)
    assert "aweigh undeploy linear --to kubernetes" in elsewhere.value.hint
    assert told.words == []
    assert [each.facts["namespace"] for each in list_deployments(settings)] == ["risk"]
    apply("fraud", "linear-fraud")
    assert sorted(each.facts["namespace"] for each in list_deployments(settings)) == ["fraud", "risk"]


def test_what_was_refused_before_anything_was_made_leaves_no_record(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="repository is empty"):
        deploy(Path(settings.home), "linear", "triton", tmp_path / "triton", apply=True)
    with pytest.raises(Unsupported):
        deploy(Path(settings.home), "linear", "cloud-init", tmp_path / "init", apply=True, image=IMAGE)
    assert list_deployments(settings) == []


@pytest.mark.parametrize(("kind", "option"), [("triton", "repository"), ("mlflow", "models")])
def test_every_version_that_was_put_is_taken_away(settings: Settings, tmp_path: Path, kind: str, option: str) -> None:
    root = tmp_path / "served"

    def versions() -> set[str]:
        return {each.name for each in (root / "linear").iterdir() if each.is_dir()}

    def put() -> None:
        deploy(Path(settings.home), "linear", kind, tmp_path / "out", apply=True, force=True, set=(f"{option}={root}",))

    put()
    shutil.rmtree(settings.home_folder / "work-linear", ignore_errors=True)
    publish(settings.home_folder, "linear", linear(neighbours=True))
    put()
    assert versions() == {"1", "2"}
    undeploy_package(settings, "linear")
    assert not any(root.iterdir())


def test_what_a_person_changed_stays(settings: Settings, tmp_path: Path) -> None:
    root = tmp_path / "served"
    deploy(Path(settings.home), "linear", "mlflow", tmp_path / "out", apply=True, set=(f"models={root}",))
    (root / "linear/1/MLmodel").write_text("mine")
    with pytest.raises(Conflict, match="not what was deployed"):
        undeploy_package(settings, "linear")
    assert (root / "linear/1/MLmodel").read_text() == "mine"

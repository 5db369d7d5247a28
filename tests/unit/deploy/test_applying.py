"""What the vendors' clients are told, word by word: each new version rolls, a second time is no failure, and only what is ours is taken away."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from tests.unit.deploy.jobs import job, render, target

from aweigh.core.errors import Refused
from aweigh.deploy.commands import Commands


class Told(Commands):
    """A client that does nothing, and keeps what it was told. `says` answers commands by how they begin; `refuses` fails them."""

    def __init__(self, says: dict[str, str] | None = None, refuses: str = "\0") -> None:
        super().__init__()
        self.words: list[str] = []
        self._says, self._refuses = says or {}, refuses

    def there(self, program: str) -> bool:
        return True

    def run(self, words: Sequence[str], *, stdin: bytes = b"", folder: Path | None = None, timeout_s: float = 600) -> str:
        text = " ".join(words)
        self.words.append(text)
        if self._refuses in text:
            raise Refused(f"{text} failed")
        return next((said for begin, said in self._says.items() if text.startswith(begin)), "")


def applied(folder: Path, kind: str, told: Told, **set_: str) -> list[str]:
    one = job(folder, kind, set_=set_)
    render(folder / "out", kind, one)
    target(kind).apply(folder / "out", one, told)
    return told.words


def test_kubernetes_rolls_and_then_takes_the_canary_away(tmp_path: Path) -> None:
    words = applied(tmp_path, "kubernetes", Told(), namespace="risk", context="one")
    head = "kubectl --context=one --namespace=risk"
    assert words[:2] == [f"{head} apply -k overlays/production", f"{head} rollout status deployment/fraud --timeout=120s"]
    assert words[2].startswith(
        f"{head} delete deployments,horizontalpodautoscalers --selector=app.kubernetes.io/instance=fraud,aweigh/track,aweigh/track!=stable "
    )
    assert len(words) == 3


def selects(selector: str, labels: dict[str, str]) -> bool:
    """As Kubernetes reads it: all parts must hold; `key!=value` holds where there is no such key, `key` alone where there is one."""
    for part in selector.split(","):
        key, unlike, value = part.partition("!=")
        if unlike:
            held = labels.get(key) != value
        else:
            key, equals, value = part.partition("=")
            held = key in labels and (not equals or labels[key] == value)
        if not held:
            return False
    return True


def of_tracks(folder: Path) -> list[tuple[str, dict[str, str]]]:
    """The Deployment and the autoscaler that were rendered."""
    read = [yaml.safe_load((folder / "out/base" / name).read_bytes()) for name in ("deployment.yaml", "autoscaler.yaml")]
    return [(each["kind"], each["metadata"]["labels"]) for each in read]


@pytest.mark.parametrize("strategy", ["rolling", "blue-green"])
def test_what_was_just_rolled_out_stays_and_other_tracks_go(tmp_path: Path, strategy: str) -> None:
    words = applied(tmp_path, "kubernetes", Told(), strategy=strategy)
    (selector,) = [word.removeprefix("--selector=") for word in words[-1].split() if word.startswith("--selector=")]
    for kind, labels in of_tracks(tmp_path):
        assert not selects(selector, labels), f"{kind} is deleted right after it was rolled out"
        assert selects(selector, {**labels, "aweigh/track": "canary"}), f"{kind} of another track stays"
        assert not selects(selector, {**labels, "app.kubernetes.io/instance": "other", "aweigh/track": "canary"})


def test_blue_green_turns_the_service_only_once_the_new_pods_are_ready(tmp_path: Path) -> None:
    words = applied(tmp_path, "kubernetes", Told(), strategy="blue-green")
    assert [each.split()[2] for each in words] == ["apply", "rollout", "apply", "delete"]
    assert words[2].endswith("apply -k switch")
    told = Told(refuses="rollout status")
    with pytest.raises(Refused) as caught:
        applied(tmp_path, "kubernetes", told, strategy="blue-green")
    assert "the old pods go on answering" in caught.value.hint
    assert not [each for each in told.words if "switch" in each or "delete" in each]


def test_a_canary_takes_nothing_away(tmp_path: Path) -> None:
    words = applied(tmp_path, "kubernetes", Told(), strategy="canary")
    assert [each.split()[2] for each in words] == ["apply", "rollout"]
    assert "deployment/fraud-canary" in words[1]


def test_what_is_undeployed_is_what_aweigh_made_under_that_name(tmp_path: Path) -> None:
    told = Told()
    target("kubernetes").remove({"name": "fraud", "namespace": "risk", "monitoring": "yes"}, tmp_path, told)
    assert len(told.words) == 2
    for words in told.words:
        assert "--selector=app.kubernetes.io/instance=fraud,app.kubernetes.io/managed-by=aweigh --ignore-not-found=true" in words


def test_docker_brings_the_old_container_back_where_the_new_one_does_not_start(tmp_path: Path) -> None:
    says = {"docker ps --all --quiet --filter name=^/?fraud$": "abc\n", "docker inspect": "running healthy"}
    words = applied(tmp_path, "docker", Told(says))
    verbs = [each.split()[1] for each in words]
    assert verbs == ["ps", "ps", "image", "rename", "stop", "run", "inspect", "rm"]
    assert words[-1] == "docker rm --force fraud-before"
    told = Told({**says, "docker inspect": "exited"})
    with pytest.raises(Refused, match="did not get ready"):
        applied(tmp_path, "docker", told)
    assert told.words[-3:] == ["docker rm --force fraud", "docker rename fraud-before fraud", "docker start fraud"]


def test_podman_gives_the_old_pod_its_time(tmp_path: Path) -> None:
    assert applied(tmp_path, "podman", Told()) == ["podman pod stop --ignore --time 35 fraud", "podman play kube --replace pod.yaml"]


def test_compose_waits_for_the_health_check(tmp_path: Path) -> None:
    words = applied(tmp_path, "compose", Told())
    assert words == ["docker compose --file compose.yaml up --detach --wait --wait-timeout 60 --remove-orphans"]


def test_systemd_gets_the_package_the_unit_and_a_restart(tmp_path: Path) -> None:
    units = tmp_path / "units"
    units.mkdir()
    words = applied(tmp_path, "systemd", Told(), units=str(units))
    assert [each.split()[1] for each in words] == ["export", "import", "daemon-reload", "enable", "restart"]
    assert words[1].endswith("--home /var/lib/aweigh-fraud")
    assert (units / "aweigh-fraud.service").read_bytes() == (tmp_path / "out/aweigh-fraud.service").read_bytes()
    told = Told()
    facts = {"unit": "aweigh-fraud.service", "units": str(units)}
    for _ in range(2):
        target("systemd").remove(facts, tmp_path, told)
    assert told.words == ["systemctl disable --now aweigh-fraud.service", "systemctl daemon-reload"]
    assert not list(units.iterdir())


URL = {
    "aws lambda get-function-url-config": '{"FunctionUrl": "https://x"}',
    "aws lambda update-function-url-config": '{"FunctionUrl": "https://x"}',
}
LIVE = "--function-name fraud --qualifier live"


def lambda_words(folder: Path, *statements: str, **set_: str) -> list[str]:
    """What AWS's client is told of the address, who may ask, and what is kept ready, where the function is there with these statements."""
    policy = json.dumps({"Policy": json.dumps({"Statement": [{"Sid": name} for name in statements]})})
    role = "arn:aws:iam::123456789012:role/models"
    words = applied(folder, "lambda", Told({**URL, "aws lambda get-policy": policy}), package="image", role=role, **set_)
    about = ("url-config", "permission", "provisioned")
    told = [each.removeprefix("aws lambda ").removesuffix(" --output json") for each in words if any(name in each for name in about)]
    return [each.replace(f" {LIVE}", "") for each in told if not each.startswith("get-")]


def test_an_address_for_anybody_takes_both_permissions_wherever_they_are_missing(tmp_path: Path) -> None:
    url = "add-permission --statement-id anybody --action lambda:InvokeFunctionUrl --principal * --function-url-auth-type NONE"
    function = "add-permission --statement-id anybody-by-url --action lambda:InvokeFunction --principal * --invoked-via-function-url"
    opened = "update-function-url-config --auth-type NONE"
    assert lambda_words(tmp_path / "a", url="none")[1:] == [opened, url, function]
    assert lambda_words(tmp_path / "b", "anybody", url="none")[1:] == [opened, function]
    assert lambda_words(tmp_path / "c", "anybody", "anybody-by-url", url="none")[1:] == [opened]


def test_an_address_that_was_open_is_closed_or_taken_away(tmp_path: Path) -> None:
    taken = [f"remove-permission --statement-id {name}" for name in ("anybody", "anybody-by-url")]
    assert lambda_words(tmp_path / "a", "anybody", "anybody-by-url", "theirs", url="iam")[1:] == [
        "update-function-url-config --auth-type AWS_IAM",
        *taken,
    ]
    assert lambda_words(tmp_path / "b", "anybody", "anybody-by-url", url="off")[1:] == ["delete-function-url-config", *taken]


def test_what_is_kept_ready_is_what_was_asked_for_none_too(tmp_path: Path) -> None:
    kept = "put-provisioned-concurrency-config --provisioned-concurrent-executions 2"
    assert lambda_words(tmp_path / "a", provisioned="2")[0] == kept
    assert lambda_words(tmp_path / "b")[0] == "delete-provisioned-concurrency-config"


BATCH = {"mode": "batch", "input": "s3://rows/new", "output": "s3://rows/answers", "role": "arn:aws:iam::123456789012:role/models"}


def test_a_batch_transform_starts_under_a_name_of_its_own_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for now in (1767225600.5, 1767229200.5):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        asked = applied(tmp_path, "sagemaker", Told(), **BATCH)[-1].removeprefix("aws sagemaker create-transform-job --cli-input-json ")
        names.append(json.loads(asked.removesuffix(" --output json"))["TransformJobName"])
    assert names == ["fraud-1767225600", "fraud-1767229200"]


def test_undeploying_a_batch_transform_stops_what_still_runs_of_it(tmp_path: Path) -> None:
    names = ("fraud-1767225600", "fraud-1767229200", "fraud-eu-1767229200", "fraud-by-hand")
    listed = json.dumps({"TransformJobSummaries": [{"TransformJobName": name} for name in names]})
    told = Told({"aws sagemaker list-transform-jobs --name-contains fraud- --status-equals InProgress": listed})
    target("sagemaker").remove({"region": "", "model": "fraud-1", "transform": "fraud-1767229200"}, tmp_path, told)
    assert [each.removesuffix(" --output json") for each in told.words[1:]] == [
        "aws sagemaker stop-transform-job --transform-job-name fraud-1767225600",
        "aws sagemaker stop-transform-job --transform-job-name fraud-1767229200",
        "aws sagemaker delete-model --model-name fraud-1",
    ]

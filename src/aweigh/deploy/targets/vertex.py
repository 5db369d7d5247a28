"""Target `vertex`: a model of Google Vertex AI from an image, behind an endpoint. The files are what `gcloud ai … --flags-file` takes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from aweigh.core.errors import InvalidInput, Refused
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import PORT, container_of
from aweigh.deploy.google import Google, checked, where
from aweigh.deploy.prices import machine_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.yaml_text import read_yaml, yaml_text

_MODEL: Final = "model.yaml"
_ENDPOINT: Final = "endpoint.yaml"
_DEPLOY: Final = "deployed-model.yaml"
_HEALTH: Final = "/ready"
_PREDICT: Final = "/vertex/predict"
_MACHINE: Final = re.compile(r"[a-z][a-z0-9]{1,7}-[a-z0-9]{1,16}(?:-[0-9]{1,4}g?)?", re.ASCII)


class VertexOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    project: str = ""
    """Empty: the one that gcloud is configured with; `region` the same."""
    region: str = ""
    machine: str = "n1-standard-2"
    service_account: str = ""


class Vertex:
    """The target."""

    name: ClassVar[str] = "vertex"
    options: ClassVar[type[msgspec.Struct]] = VertexOptions
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGE})

    def render(self, job: DeployJob) -> Rendered:
        options = _options(job)
        checked(project=options.project, region=options.region, account=options.service_account)
        if not _MACHINE.fullmatch(options.machine):
            raise InvalidInput(f"{options.machine[:80]!r} is no type of machine", hint="write it as n1-standard-2")
        said = [f"{job.package.reference} on Google Vertex AI. Made by `aweigh deploy`."]
        documents = _documents(job, options)
        place = " ".join(["", *where(options.project, options.region)])
        least = max(1, job.scale.least)
        most = max(least, job.scale.most)
        more = [f"up to {most} run, and are paid for, while more is asked"] if most > least else []
        return Rendered(
            files={name: yaml_text(document, said=said) for name, document in documents.items()},
            does=[
                f"a model '{job.name}', an endpoint of that name, and {least} to {most} x {options.machine} behind it",
                "they run, and are paid for, until it is undeployed",
            ],
            costs=[*machine_lines("vertex", options.machine, least), *more],
            commands=[
                f"gcloud ai models upload --flags-file={_MODEL}{place}",
                f"gcloud ai endpoints create --flags-file={_ENDPOINT}{place}",
                f"gcloud ai endpoints deploy-model ENDPOINT --model=MODEL --flags-file={_DEPLOY}{place}",
            ],
            notes=[f"Vertex asks {_HEALTH} for health and sends instances to {_PREDICT}: the server answers where AIP_… say"],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        return [finding for name, kind in _READ.items() for finding in _check(name, (folder / name).read_bytes(), kind)]

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options = _options(job)
        google = Google(commands, project=options.project, region=options.region)
        facts = {"project": options.project, "region": options.region, "name": job.name}
        google.call("ai", "models", "upload", f"--flags-file={folder / _MODEL}")
        endpoint = _found(google, "endpoints", job.name)
        if not endpoint:
            google.call("ai", "endpoints", "create", f"--flags-file={folder / _ENDPOINT}")
            endpoint = _found(google, "endpoints", job.name)
        model = _found(google, "models", job.name)
        if not endpoint or not model:
            raise Refused(f"Vertex AI does not list what was made as '{job.name}'", hint="try again in a moment")
        before = _deployed(google, endpoint)
        google.call("ai", "endpoints", "deploy-model", endpoint, f"--model={model}", f"--flags-file={folder / _DEPLOY}")
        for old in before:
            google.call("ai", "endpoints", "undeploy-model", endpoint, f"--deployed-model-id={old}")
        return Applied(facts={**facts, "endpoint": endpoint, "model": model}, address=endpoint)

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        google = Google(commands, project=facts["project"], region=facts["region"])
        if endpoint := facts.get("endpoint") or _found(google, "endpoints", facts["name"]):
            for each in _deployed(google, endpoint):
                google.remove("ai", "endpoints", "undeploy-model", endpoint, f"--deployed-model-id={each}")
            google.remove("ai", "endpoints", "delete", endpoint)
        if model := facts.get("model") or _found(google, "models", facts["name"]):
            google.remove("ai", "models", "delete", model)


def _options(job: DeployJob) -> VertexOptions:
    return job.options if isinstance(job.options, VertexOptions) else VertexOptions()


def _documents(job: DeployJob, options: VertexOptions) -> dict[str, dict[str, Any]]:
    container = container_of(job)
    environment = {name: value for name, value in container.environment.items() if name != "PORT"}
    least = max(1, job.scale.least)
    deployed: dict[str, Any] = {
        "--display-name": f"{job.name}-{container.version}",
        "--machine-type": options.machine,
        "--min-replica-count": least,
        "--max-replica-count": max(least, job.scale.most),
        "--traffic-split": {"0": 100},
    }
    if options.service_account:
        deployed["--service-account"] = options.service_account
    model = {
        "--display-name": job.name,
        "--description": f"{container.model}, made by aweigh",
        "--container-image-uri": container.image,
        "--container-ports": [PORT],
        "--container-health-route": _HEALTH,
        "--container-predict-route": _PREDICT,
        "--container-env-vars": environment,
    }
    return {_MODEL: model, _ENDPOINT: {"--display-name": job.name}, _DEPLOY: deployed}


_READ: Final[dict[str, dict[str, type]]] = {
    _MODEL: {
        "--display-name": str, "--description": str, "--container-image-uri": str, "--container-ports": list, "--container-health-route": str,
        "--container-predict-route": str, "--container-env-vars": dict,
    },
    _ENDPOINT: {"--display-name": str},
    _DEPLOY: {
        "--display-name": str, "--machine-type": str, "--min-replica-count": int, "--max-replica-count": int, "--traffic-split": dict,
        "--service-account": str,
    },
}  # fmt: skip
"""The flags of each file, and what they hold."""


def _check(name: str, data: bytes, flags: Mapping[str, type]) -> list[Finding]:
    documents = read_yaml(data, place=name)
    document = documents[0] if len(documents) == 1 and isinstance(documents[0], dict) else {}
    found = [Finding(place=f"{name}: {flag}", message="gcloud knows no such flag here") for flag in document if flag not in flags]
    for flag, kind in flags.items():
        value = document.get(flag)
        if value is None:
            if flag != "--service-account":
                found.append(Finding(place=f"{name}: {flag}", message="is missing"))
        elif not isinstance(value, kind):
            found.append(Finding(place=f"{name}: {flag}", message=f"is {value!r}, and not of the kind {kind.__name__}"))
    if name == _DEPLOY and not found and document["--min-replica-count"] > document["--max-replica-count"]:
        found.append(Finding(place=f"{name}: --min-replica-count", message="is more than --max-replica-count"))
    return found


def _found(google: Google, kind: str, name: str) -> str:
    """The newest of that display name, by its number; empty where there is none."""
    listed = google.document("ai", kind, "list", f"--filter=displayName={name}", "--sort-by=~createTime")
    named = [each for each in listed or [] if isinstance(each, dict) and each.get("displayName") == name]
    return str(named[0].get("name", "")).rpartition("/")[2] if named else ""


def _deployed(google: Google, endpoint: str) -> list[str]:
    """What runs behind an endpoint; nothing where that is gone."""
    try:
        said = google.document("ai", "endpoints", "describe", endpoint)
    except Refused:
        return []
    return [str(each.get("id", "")) for each in (said or {}).get("deployedModels", [])]

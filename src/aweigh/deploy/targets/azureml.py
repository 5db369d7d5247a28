"""Target `azureml`: a managed online endpoint of Azure Machine Learning, of the runner and a scoring script, as the YAML that `az ml` takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import msgspec

from aweigh.deploy.azure import Azure, checked
from aweigh.deploy.bundle import runner_bundle
from aweigh.deploy.commands import Commands
from aweigh.deploy.platforms import Platform, WheelTarget
from aweigh.deploy.prices import machine_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.yaml_text import read_yaml, yaml_text

_ENDPOINT: Final = "endpoint.yml"
_DEPLOYMENT: Final = "deployment.yml"
_CONDA: Final = "conda.yml"
_CODE: Final = "code"
_SCRIPT: Final = "score.py"
_ENTRY: Final = Path(__file__).parent.parent / "entries" / "azureml.txt"
_GLIBC: Final = (2, 35)
"""Of Ubuntu 22.04, on which Azure's base image stands."""
_IMAGE: Final = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
_SERVER: Final = "azureml-inference-server-http==1.5.1"
_MAX_NAME: Final = 32


class AzureMlOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    workspace: str = ""
    """Empty: the one that `az` is configured with; `resource_group` the same."""
    resource_group: str = ""
    instance: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_]{1,40}$")] = "Standard_DS2_v2"


class AzureMl:
    """The target."""

    name: ClassVar[str] = "azureml"
    options: ClassVar[type[msgspec.Struct]] = AzureMlOptions
    needs: ClassVar[frozenset[Need]] = frozenset()

    def render(self, job: DeployJob) -> Rendered:
        options = _options(job)
        checked(workspace=options.workspace, resource_group=options.resource_group)
        target = WheelTarget(platform=Platform(architecture="amd64"), python=(3, 12), glibc=_GLIBC)
        bundle = runner_bundle(job.package, job.variant, target, cache=job.cache, progress=job.progress)
        files: dict[str, bytes | Path] = {f"{_CODE}/{name}": content for name, content in bundle.items()}
        said = [f"{job.package.reference} on Azure Machine Learning. Made by `aweigh deploy`."]
        files |= {name: yaml_text(document, said=said) for name, document in _documents(job, options).items()}
        files[f"{_CODE}/{_SCRIPT}"] = _ENTRY.read_bytes()
        count = max(1, job.scale.least)
        place = "".join(f" {word}" for word in _place(options))
        return Rendered(
            files=files,
            does=[f"an endpoint '{_name(job)}' of {count} x {options.instance}, which runs and is paid for until it is undeployed"],
            costs=machine_lines("azureml", options.instance, count),
            commands=[
                f"az ml online-endpoint create --file {_ENDPOINT}{place}",
                f"az ml online-deployment create --file {_DEPLOYMENT} --all-traffic{place}",
            ],
            notes=[
                "callers send a key of the endpoint; an instance answers one request at a time",
                "--apply deletes the endpoint's other deployments once the new one has all traffic: their instances would be paid for",
            ],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        endpoint, deployment = (read_yaml((folder / name).read_bytes(), place=name)[0] for name in (_ENDPOINT, _DEPLOYMENT))
        found = []
        if deployment.get("endpoint_name") != endpoint.get("name"):
            found.append(
                Finding(place=f"{_DEPLOYMENT}: endpoint_name", message=f"is not {endpoint.get('name')!r}, which {_ENDPOINT} makes")
            )
        code = deployment.get("code_configuration") or {}
        script = folder / str(code.get("code")) / str(code.get("scoring_script"))
        if not script.is_file():
            found.append(Finding(place=f"{_DEPLOYMENT}: code_configuration", message=f"there is no {script.name} in {code.get('code')!r}"))
        if not isinstance(deployment.get("instance_count"), int) or deployment["instance_count"] < 1:
            found.append(Finding(place=f"{_DEPLOYMENT}: instance_count", message="must be 1 or more"))
        return found

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        options = _options(job)
        return {"name": _name(job), "workspace": options.workspace, "resource_group": options.resource_group}

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options = _options(job)
        azure = Azure(commands, *_place(options))
        name = _name(job)
        verb = "update" if azure.there("ml", "online-endpoint", "show", "--name", name) else "create"
        azure.call("ml", "online-endpoint", verb, "--file", str(folder / _ENDPOINT))
        current = str(read_yaml((folder / _DEPLOYMENT).read_bytes(), place=_DEPLOYMENT)[0]["name"])
        at = ("--name", current, "--endpoint-name", name)
        verb = "update" if azure.there("ml", "online-deployment", "show", *at) else "create"
        azure.call("ml", "online-deployment", verb, "--file", str(folder / _DEPLOYMENT), *(["--all-traffic"] if verb == "create" else []))
        if verb == "update":
            azure.call("ml", "online-endpoint", "update", "--name", name, "--traffic", f"{current}=100")
        _drop_others(azure, name, current)
        address = azure.call("ml", "online-endpoint", "show", "--name", name, "--query", "scoring_uri", "--output", "tsv").strip()
        return Applied(facts=self.foresee(folder, job), address=address)

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        options = AzureMlOptions(workspace=facts["workspace"], resource_group=facts["resource_group"])
        azure = Azure(commands, *_place(options))
        if azure.there("ml", "online-endpoint", "show", "--name", facts["name"]):
            azure.call("ml", "online-endpoint", "delete", "--name", facts["name"], "--yes")


def _drop_others(azure: Azure, endpoint: str, current: str) -> None:
    """Earlier versions, which get no requests any more: their instances would go on running, and be paid for."""
    said = azure.call("ml", "online-deployment", "list", "--endpoint-name", endpoint, "--query", "[].name", "--output", "tsv")
    for each in said.split():
        if each != current:
            azure.call("ml", "online-deployment", "delete", "--name", each, "--endpoint-name", endpoint, "--yes")


def _options(job: DeployJob) -> AzureMlOptions:
    return job.options if isinstance(job.options, AzureMlOptions) else AzureMlOptions()


def _name(job: DeployJob) -> str:
    return job.name[:_MAX_NAME].rstrip("-")


def _place(options: AzureMlOptions) -> list[str]:
    group = [f"--resource-group={options.resource_group}"] if options.resource_group else []
    return [*group, *([f"--workspace-name={options.workspace}"] if options.workspace else [])]


def _documents(job: DeployJob, options: AzureMlOptions) -> dict[str, dict[str, Any]]:
    version = job.package.reference.version or 0
    tags = {"aweigh-model": str(job.package.reference), "aweigh-digest": str(job.package.digest)}
    probe = {"initial_delay": 10, "period": 10, "timeout": 5, "success_threshold": 1, "failure_threshold": 30}
    deployment = {
        "name": f"v{version}-{str(job.package.digest).removeprefix('sha256:')[:8]}",
        "endpoint_name": _name(job),
        "code_configuration": {"code": _CODE, "scoring_script": _SCRIPT},
        "environment": {"image": _IMAGE, "conda_file": _CONDA},
        "environment_variables": {"ORT_DISABLE_TELEMETRY": "1"},
        "instance_type": options.instance,
        "instance_count": max(1, job.scale.least),
        "request_settings": {"request_timeout_ms": 30000, "max_concurrent_requests_per_instance": 1},
        "readiness_probe": probe,
        "liveness_probe": probe,
        "tags": tags,
    }
    conda = {
        "name": "aweigh",
        "channels": ["conda-forge"],
        "dependencies": ["python=3.12", "pip", {"pip": [_SERVER]}],
    }
    return {_ENDPOINT: {"name": _name(job), "auth_mode": "key", "tags": tags}, _DEPLOYMENT: deployment, _CONDA: conda}

"""Target `container-apps`: an app of Azure Container Apps from an image, as the YAML that `az containerapp create --yaml` takes."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import msgspec

from aweigh.deploy.azure import Azure, checked
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import PORT, Container, container_of
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.yaml_text import read_yaml, yaml_text

_FILE: Final = "containerapp.yaml"
_STEP_MIB: Final = 1024
"""Memory comes in twice as many gibibytes as there are cores, in steps of half a core."""
_MAX_NAME: Final = 32
_ENVIRONMENT: Final = "/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.App/managedEnvironments/NAME"
_PROBE_S: Final = 10
"""Most failures that a probe may have there: a start-up that takes longer asks less often."""


class ContainerAppsOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    resource_group: str = ""
    """Empty: the one that `az` is configured with."""
    environment: Annotated[str, msgspec.Meta(pattern=r"^(/subscriptions/[A-Za-z0-9/_.()-]{1,400})?$", examples=[_ENVIRONMENT])] = ""
    """Address of the managed environment; empty: it is given to `az` beside the file."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    """Requests at one replica beyond which there is another."""
    memory_mib: Annotated[int, msgspec.Meta(ge=0, le=8192)] = 0
    """0: what the model takes; in whole gibibytes, each with half a core."""
    public: bool = False
    """Whether it can be asked from outside its environment."""


class ContainerApps:
    """The target."""

    name: ClassVar[str] = "container-apps"
    options: ClassVar[type[msgspec.Struct]] = ContainerAppsOptions
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGE})

    def render(self, job: DeployJob) -> Rendered:
        options = _options(job)
        checked(resource_group=options.resource_group)
        container = container_of(job)
        halves = max(1, math.ceil((options.memory_mib or container.memory_mib) / _STEP_MIB))
        said = [f"{job.package.reference} on Azure Container Apps. Made by `aweigh deploy`."]
        group = f" --resource-group {options.resource_group}" if options.resource_group else ""
        reach = "from everywhere" if options.public else "from inside its environment"
        return Rendered(
            files={_FILE: yaml_text(_app(job, container, halves), said=said)},
            does=[f"an app '{_name(job)}' of {job.scale.least} to {job.scale.most} replicas, asked {reach}"],
            costs=cost_lines("container-apps", job, cores=halves / 2, memory_mib=halves * _STEP_MIB),
            commands=[f"az containerapp create --name {_name(job)} --yaml {_FILE}{group}"],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        properties = read_yaml((folder / _FILE).read_bytes(), place=_FILE)[0].get("properties", {})
        scale = properties.get("template", {}).get("scale", {})
        port = properties.get("configuration", {}).get("ingress", {}).get("targetPort")
        found = []
        for container in properties.get("template", {}).get("containers", []):
            for probe in container.get("probes", []):
                if probe.get("httpGet", {}).get("port") != port:
                    found.append(Finding(place=f"{_FILE}: {probe.get('type')}", message=f"asks another port than {port}"))
                if probe.get("failureThreshold", 1) > _PROBE_S:
                    found.append(Finding(place=f"{_FILE}: {probe.get('type')}", message=f"failureThreshold is more than {_PROBE_S}"))
        if not 0 <= scale.get("minReplicas", 0) <= scale.get("maxReplicas", 0) <= 1000 or not scale.get("maxReplicas"):
            found.append(Finding(place=f"{_FILE}: $.properties.template.scale", message="says no number of replicas that can be"))
        return found

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        return {"name": _name(job), "resource_group": _options(job).resource_group}

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options = _options(job)
        azure = _azure(commands, options.resource_group)
        name = _name(job)
        verb = "update" if azure.there("containerapp", "show", "--name", name) else "create"
        azure.call("containerapp", verb, "--name", name, "--yaml", str(folder / _FILE))
        query = ("--query", "properties.configuration.ingress.fqdn", "--output", "tsv")
        address = azure.call("containerapp", "show", "--name", name, *query).strip()
        return Applied(facts=self.foresee(folder, job), address=f"https://{address}" if address else "")

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        azure = _azure(commands, facts["resource_group"])
        if azure.there("containerapp", "show", "--name", facts["name"]):
            azure.call("containerapp", "delete", "--name", facts["name"], "--yes")


def _options(job: DeployJob) -> ContainerAppsOptions:
    return job.options if isinstance(job.options, ContainerAppsOptions) else ContainerAppsOptions()


def _azure(commands: Commands, group: str) -> Azure:
    return Azure(commands, *([f"--resource-group={group}"] if group else []))


def _name(job: DeployJob) -> str:
    return job.name[:_MAX_NAME].rstrip("-")


def _app(job: DeployJob, container: Container, halves: int) -> dict[str, Any]:
    """https://learn.microsoft.com/azure/container-apps/azure-resource-manager-api-spec"""
    options, scale = _options(job), job.scale

    def probe(kind: str, path: str, period_s: int, failures: int) -> dict[str, Any]:
        return {"type": kind, "httpGet": {"path": path, "port": PORT}, "periodSeconds": period_s, "failureThreshold": failures}

    start = probe("Startup", "/ready", math.ceil(container.start_limit_s / _PROBE_S), _PROBE_S)
    app = {
        "name": container.name[:_MAX_NAME],
        "image": container.image,
        "env": [{"name": name, "value": value} for name, value in container.environment.items()],
        "resources": {"cpu": halves / 2, "memory": f"{halves}Gi"},
        "probes": [start, probe("Readiness", "/ready", 5, 3), probe("Liveness", "/live", 10, 3)],
    }
    rule = {"name": "requests", "http": {"metadata": {"concurrentRequests": str(options.concurrency)}}}
    template = {
        "terminationGracePeriodSeconds": min(600, container.grace_s),
        "containers": [app],
        "scale": {"minReplicas": scale.least, "maxReplicas": scale.most, "rules": [rule]},
    }
    ingress = {"external": options.public, "targetPort": PORT, "transport": "auto"}
    where = {"managedEnvironmentId": options.environment} if options.environment else {}
    return {
        "type": "Microsoft.App/containerApps",
        "tags": {"aweigh-model": container.model, "aweigh-digest": str(container.digest)},
        "properties": {**where, "configuration": {"activeRevisionsMode": "Single", "ingress": ingress}, "template": template},
    }

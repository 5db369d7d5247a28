"""Podman on one machine: the pod as Kubernetes would run it, brought up by `podman play kube`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from aweigh.core.errors import AweighError
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import KEYS_FOLDER, PORT, Container
from aweigh.deploy.kubernetes_objects import Object, Workload, facts, pod
from aweigh.deploy.manifest_checks import check_manifests
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.targets.docker import OneMachineOptions, gap_note, one_machine
from aweigh.deploy.yaml_text import read_yaml, yaml_text

_FILE: Final = "pod.yaml"
_ANNOTATION: Final = 63
"""Podman takes no longer ones."""
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")


class Podman:
    """The target."""

    name: ClassVar[str] = "podman"
    options: ClassVar[type[msgspec.Struct]] = OneMachineOptions
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGE})

    def render(self, job: DeployJob) -> Rendered:
        options, container = one_machine(job)
        said = (f"{container.model} by Podman, by aweigh", job.capacity.source)
        return Rendered(
            files={_FILE: yaml_text(pod_manifest(container, options), said=said)},
            does=[f"pod {job.name}: {container.model} at http://{options.publish}, with {container.memory_mib} MiB"],
            costs=cost_lines(self.name, job, memory_mib=container.memory_mib),
            commands=[f"podman play kube --replace {_FILE}"],
            notes=[gap_note(job)],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        try:
            documents = read_yaml((folder / _FILE).read_bytes(), place=_FILE)
        except OSError as error:
            return [Finding(place=_FILE, message=f"cannot be read: {error.strerror}", hint="render it again")]
        except AweighError as error:
            return [Finding(place=_FILE, message=error.message, hint=error.hint)]
        return check_manifests([(_FILE, document) for document in documents])

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        return {"name": job.name, "grace_s": str(one_machine(job)[1].grace_s)}

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options, container = one_machine(job)
        _stop(commands, job.name, container.grace_s)
        commands.run(["podman", "play", "kube", "--replace", _FILE], folder=folder)
        return Applied(facts=self.foresee(folder, job), address=f"http://{options.publish}")

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        _stop(commands, facts["name"], int(facts["grace_s"]))
        commands.run(["podman", "pod", "rm", "--force", "--ignore", facts["name"]])


def _stop(commands: Commands, name: str, grace_s: int) -> None:
    """With the time that the server may take; Podman alone gives it ten seconds."""
    commands.run(["podman", "pod", "stop", "--ignore", "--time", str(grace_s), name])


def pod_manifest(container: Container, options: OneMachineOptions) -> Object:
    """Without probes by HTTP: Podman would run curl inside, which the image has not; the image's own health check stands."""
    spec = pod(Workload(name=container.name, app=container.name, track="stable", container=container))
    server: dict[str, Any] = {key: value for key, value in spec["containers"][0].items() if key not in _PROBES}
    address, _, port = options.publish.rpartition(":")
    server["ports"] = [{"name": "http", "containerPort": PORT, "hostPort": int(port), "hostIP": address, "protocol": "TCP"}]
    volumes = list(spec["volumes"])
    if options.api_keys_file:
        server["volumeMounts"] = [*server["volumeMounts"], {"name": "keys", "mountPath": f"{KEYS_FOLDER}/keys", "readOnly": True}]
        volumes.append({"name": "keys", "hostPath": {"path": options.api_keys_file, "type": "File"}})
    facts_ = {key: value[:_ANNOTATION] for key, value in facts(container).items()}
    about = {"name": container.name, "labels": {"app": container.name}, "annotations": facts_}
    kept = {key: value for key, value in spec.items() if key != "topologySpreadConstraints"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": about,
        "spec": {**kept, "restartPolicy": "Always", "containers": [server], "volumes": volumes},
    }

"""Docker Compose on one machine: one service in a file to keep in Git, brought up by `docker compose`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from aweigh.core.errors import AweighError, InvalidFile
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import KEYS_FILE, PORT, USER, Container
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.targets.docker import OneMachineOptions, gap_note, one_machine
from aweigh.deploy.yaml_text import read_yaml, yaml_text

_FILE: Final = "compose.yaml"


class _Port(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    target: int
    published: str
    host_ip: str
    protocol: str = "tcp"


class _Service(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What aweigh renders of a service; other keys are the person's, and left to Compose."""

    image: str
    ports: list[_Port]
    environment: dict[str, str]
    stop_grace_period: str
    read_only: bool = False
    mem_limit: str = ""


class Compose:
    """The target."""

    name: ClassVar[str] = "compose"
    options: ClassVar[type[msgspec.Struct]] = OneMachineOptions
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGE})

    def render(self, job: DeployJob) -> Rendered:
        options, container = one_machine(job)
        document = {"name": job.name, "services": {"server": _service(container, options)}}
        said = (f"{container.model} by Docker Compose, by aweigh", job.capacity.source)
        return Rendered(
            files={_FILE: yaml_text(literal(document), said=said)},
            does=[f"project {job.name}: {container.model} at http://{options.publish}, with 1 core and {container.memory_mib} MiB"],
            costs=cost_lines(self.name, job, memory_mib=container.memory_mib),
            commands=["docker compose up --detach --wait"],
            notes=[gap_note(job)],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        try:
            server = _read(folder)["services"]["server"]
            known = {each.name for each in msgspec.structs.fields(_Service)}
            service = msgspec.convert({key: value for key, value in server.items() if key in known}, _Service)
        except (AweighError, KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
            return [Finding(place=_FILE, message=f"cannot be read as Compose would: {error}", hint="render it again with --force")]
        findings = []
        listened = service.environment.get("PORT")
        if str(service.ports[0].target) != listened:
            message = f"publishes port {service.ports[0].target}, and the server listens on {listened}"
            findings.append(Finding(place=f"{_FILE}: $.services.server.ports", message=message))
        return findings or _by_compose(folder, Commands())

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options, container = one_machine(job)
        wait_s = str(container.start_limit_s)
        words = ["docker", "compose", "--file", _FILE, "up", "--detach", "--wait", "--wait-timeout", wait_s, "--remove-orphans"]
        commands.run(words, folder=folder)
        return Applied(facts={"name": job.name}, address=f"http://{options.publish}")

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        commands.run(["docker", "compose", "--project-name", facts["name"], "down", "--remove-orphans"])


def _service(container: Container, options: OneMachineOptions) -> dict[str, Any]:
    address, _, port = options.publish.rpartition(":")
    service: dict[str, Any] = {
        "image": container.image,
        "restart": "unless-stopped",
        "ports": [{"target": PORT, "published": port, "host_ip": address, "protocol": "tcp"}],
        "environment": dict(container.environment),
        "labels": container.labels,
        "user": f"{USER}:{USER}",
        "read_only": True,
        "tmpfs": ["/tmp:size=256m"],  # noqa: S108  # the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": 512,
        "cpus": 1.0,
        "mem_limit": f"{container.memory_mib}m",
        "stop_grace_period": f"{container.grace_s}s",
    }
    if options.api_keys_file:
        mount = {"type": "bind", "source": options.api_keys_file, "target": KEYS_FILE, "read_only": True}
        service["volumes"] = [mount]
    return service


def literal(data: Any) -> Any:
    """Text as Compose takes it for itself: it would put variables in the place of what follows a `$`."""
    if isinstance(data, str):
        return data.replace("$", "$$")
    if isinstance(data, dict):
        return {key: literal(value) for key, value in data.items()}
    return [literal(each) for each in data] if isinstance(data, list) else data


def _read(folder: Path) -> Any:
    try:
        documents = read_yaml((folder / _FILE).read_bytes(), place=_FILE)
    except OSError as error:
        raise InvalidFile(f"{_FILE} cannot be read: {error.strerror}", hint="render it again") from error
    return documents[0] if documents else {}


def _by_compose(folder: Path, commands: Commands) -> list[Finding]:
    """What Compose itself says, where it is installed; it needs no engine for that."""
    if not commands.there("docker"):
        return []
    try:
        commands.run(["docker", "compose", "version"], timeout_s=60)
    except AweighError:
        return []
    try:
        commands.run(["docker", "compose", "--file", _FILE, "config", "--quiet"], folder=folder, timeout_s=60)
    except AweighError as error:
        return [Finding(place=_FILE, message=error.message)]
    return []

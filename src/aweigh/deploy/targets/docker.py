"""Docker on one machine: one container, run by `docker run`; a new version takes the old one's place, which comes back where the new one does not get well."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, cast

import msgspec

from aweigh.core.errors import AweighError, FileMissing, InvalidInput, Refused
from aweigh.deploy.command_text import read_script, script_text
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import KEYS_FILE, PORT, USER, Container, container_of
from aweigh.deploy.option_types import KeysPath, Published
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered

_SCRIPT: Final = "run.sh"
_STATE: Final = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"
_LOOK_S: Final = 0.5


class OneMachineOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    publish: Published = "127.0.0.1:8080"
    """Address and port of the machine. Anything but loopback needs api_keys_file."""
    api_keys_file: KeysPath = ""
    """A file of API keys on that machine, which user 65532 may read."""


class Docker:
    """The target."""

    name: ClassVar[str] = "docker"
    options: ClassVar[type[msgspec.Struct]] = OneMachineOptions
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGE})

    def render(self, job: DeployJob) -> Rendered:
        options, container = one_machine(job)
        words = _run_words(container, options)
        said = (f"{container.model} by Docker, by aweigh", job.capacity.source)
        return Rendered(
            files={_SCRIPT: script_text(words, said=said)},
            does=[f"container {job.name}: {container.model} at http://{options.publish}, with 1 core and {container.memory_mib} MiB"],
            costs=cost_lines(self.name, job, memory_mib=container.memory_mib),
            commands=[f"docker rm --force {job.name}", f"sh {_SCRIPT}"],
            notes=[gap_note(job)],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        try:
            words = _read(folder)
        except AweighError as error:
            return [Finding(place=_SCRIPT, message=error.message, hint=error.hint)]
        findings = [
            Finding(place=_SCRIPT, message=f"is run without {wanted}", fatal=False)
            for wanted in ("--read-only", "--cap-drop", "--memory")
            if wanted not in words
        ]
        if words[:2] != ["docker", "run"] or "--name" not in words or words[words.index("--name") + 1] != job.name:
            findings.append(
                Finding(place=_SCRIPT, message=f"does not run a container named {job.name!r}", hint="render it again with --force")
            )
        return findings

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        return {"name": job.name, "grace_s": str(one_machine(job)[1].grace_s)}

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options, container = one_machine(job)
        before = _before(job.name)
        if _there(commands, before):
            commands.run(["docker", "rm", "--force", before])
        replaced = _there(commands, job.name)
        if not _image_there(commands, container.image):
            commands.run(["docker", "pull", container.image])
        if replaced:
            commands.run(["docker", "rename", job.name, before])
            commands.run(["docker", "stop", "--time", str(container.grace_s), before])
        try:
            commands.run(_read(folder))
            _wait_healthy(commands, job.name, container.start_limit_s)
        except AweighError:
            _bring_back(commands, job.name, before if replaced else "")
            raise
        if replaced:
            commands.run(["docker", "rm", "--force", before])
        return Applied(facts=self.foresee(folder, job), address=f"http://{options.publish}")

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        if _there(commands, facts["name"]):
            commands.run(["docker", "stop", "--time", facts["grace_s"], facts["name"]])
            commands.run(["docker", "rm", "--force", facts["name"]])
        if _there(commands, _before(facts["name"])):
            commands.run(["docker", "rm", "--force", _before(facts["name"])])


def _before(name: str) -> str:
    """What the old container is called while the new one starts."""
    return f"{name}-before"


def one_machine(job: DeployJob) -> tuple[OneMachineOptions, Container]:
    """For one container behind a port of a machine. Raises InvalidInput where anyone could ask it."""
    options = cast("OneMachineOptions", job.options)
    if not options.publish.startswith("127.") and not options.api_keys_file:
        raise InvalidInput(
            f"publish={options.publish} lets other machines ask, and no API keys are asked for",
            hint="give --set api_keys_file=/path/of/keys, or publish on 127.0.0.1 behind a proxy",
        )
    return options, container_of(job, keys=bool(options.api_keys_file))


def gap_note(job: DeployJob) -> str:
    """What replacing the only container means."""
    return f"a new version takes the port from the old one: nobody answers for about {job.capacity.start_s:.1f} s (Kubernetes, or two behind a proxy, go on answering)"


def _run_words(container: Container, options: OneMachineOptions) -> list[str]:
    words = ["docker", "run", "--detach", "--name", container.name, "--restart", "unless-stopped"]
    words += ["--publish", f"{options.publish}:{PORT}", "--user", f"{USER}:{USER}", "--read-only", "--tmpfs", "/tmp:size=256m"]  # noqa: S108  # the container's own
    words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "512"]
    words += ["--cpus", "1", "--memory", f"{container.memory_mib}m", "--stop-timeout", str(container.grace_s)]
    if options.api_keys_file:
        words += ["--mount", f"type=bind,source={options.api_keys_file},target={KEYS_FILE},readonly"]
    for key, value in container.labels.items():
        words += ["--label", f"{key}={value}"]
    for key, value in container.environment.items():
        words += ["--env", f"{key}={value}"]
    return [*words, container.image]


def _read(folder: Path) -> list[str]:
    try:
        commands = read_script((folder / _SCRIPT).read_bytes(), place=_SCRIPT)
    except OSError as error:
        raise FileMissing(f"{_SCRIPT} cannot be read: {error.strerror}", hint="render it again") from error
    return commands[-1] if commands else [""]


def _there(commands: Commands, name: str) -> bool:
    return bool(commands.run(["docker", "ps", "--all", "--quiet", "--filter", f"name=^/?{name}$"]).strip())


def _image_there(commands: Commands, image: str) -> bool:
    """An image that was made or loaded here needs no registry."""
    try:
        commands.run(["docker", "image", "inspect", "--format", "{{.Id}}", image])
    except Refused:
        return False
    return True


def _wait_healthy(commands: Commands, name: str, limit_s: float) -> None:
    """By the image's own health check: every model answered its golden set. Raises Refused with the log's last lines."""
    deadline = time.monotonic() + limit_s
    state = ""
    while time.monotonic() < deadline:
        state = commands.run(["docker", "inspect", "--format", _STATE, name]).strip()
        status, _, health = state.partition(" ")
        if health == "healthy" or (status == "running" and health in {"", "none"}):  # the engine keeps no health checks
            return
        if health == "unhealthy" or status in {"exited", "dead", "restarting"}:
            break
        time.sleep(_LOOK_S)
    said = commands.run(["docker", "logs", "--tail", "5", name]).strip()
    raise Refused(f"container {name!r} did not get ready in {limit_s:g} s: {state}: {said[-500:]}", hint=f"docker logs {name}")


def _bring_back(commands: Commands, name: str, before: str) -> None:
    """What was there runs again, whatever the new one did."""
    if before:
        if _there(commands, name):
            commands.run(["docker", "rm", "--force", name])
        commands.run(["docker", "rename", before, name])
        commands.run(["docker", "start", name])

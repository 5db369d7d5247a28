"""`kubectl`, and folders that it takes by `-k`: what they hold, and what programs that are there say of them. Used by the targets `kubernetes` and `kserve`."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from aweigh.core.errors import AweighError, InvalidFile, Refused
from aweigh.deploy.commands import Commands
from aweigh.deploy.target import Finding
from aweigh.deploy.yaml_text import read_yaml

_SCHEMAS: Final = "kubernetes-validate"
_TIMEOUT_S: Final = 120.0
_UNKNOWN_KIND: Final = "the server doesn't have a resource type"


class Kubectl:
    """Of one namespace and context. Every call is bounded in time."""

    def __init__(self, namespace: str, context: str, commands: Commands, folder: Path) -> None:
        self._head = ["kubectl", *([f"--context={context}"] if context else []), f"--namespace={namespace}"]
        self._commands, self._folder = commands, folder

    def run(self, *words: str, timeout_s: float = _TIMEOUT_S) -> str:
        """What it printed. Raises Unavailable, Refused."""
        return self._commands.run([*self._head, *words], folder=self._folder if self._folder.is_dir() else None, timeout_s=timeout_s)

    def rolled_out(self, deployment: str, timeout_s: int) -> None:
        """Wait until the Deployment's new pods are ready. Raises Refused with what to look at."""
        words = ("rollout", "status", f"deployment/{deployment}", f"--timeout={timeout_s}s")
        try:
            self.run(*words, timeout_s=timeout_s + 30)
        except Refused as error:
            hint = f"the old pods go on answering; `kubectl describe deployment/{deployment}` and `kubectl logs` tell why the new ones are not ready"
            raise Refused(error.message, hint=hint) from error

    def delete(self, kinds: str, selector: str) -> None:
        """What has these labels; none is no failure, and neither is a cluster that knows no such kind."""
        try:
            self.run("delete", kinds, f"--selector={selector}", "--ignore-not-found=true", "--wait=true", f"--timeout={_TIMEOUT_S:g}s")
        except Refused as error:
            if _UNKNOWN_KIND not in error.message:
                raise


def kustomized(folder: Path, part: str, findings: list[Finding]) -> list[tuple[str, Any]]:
    """The objects that a kustomization lists by file, with their places; what is not there or cannot be read is added to the findings."""
    place = f"{part}/kustomization.yaml"
    kustomization = _first(folder, place, findings)
    listed = kustomization.get("resources", []) if isinstance(kustomization, dict) else []
    found: list[tuple[str, Any]] = []
    for name in listed if isinstance(listed, list) else []:
        inside = f"{part}/{name}"
        if str(name).startswith("../"):
            if not (folder / part / str(name) / "kustomization.yaml").is_file():
                findings.append(Finding(place=place, message=f"there is no {name}/kustomization.yaml"))
            continue
        found.extend((inside, document) for document in _documents(folder, inside, findings))
    return found


def _first(folder: Path, name: str, findings: list[Finding]) -> Any:
    documents = _documents(folder, name, findings)
    return documents[0] if documents else None


def _documents(folder: Path, name: str, findings: list[Finding]) -> list[Any]:
    if ".." in PurePosixPath(name).parts or not (folder / name).is_file():
        findings.append(Finding(place=name, message="is not there", hint="render again, or take it out of kustomization.yaml"))
        return []
    try:
        return [each for each in read_yaml((folder / name).read_bytes(), place=name) if each is not None]
    except InvalidFile as error:
        findings.append(Finding(place=name, message=error.message, hint=error.hint))
        return []


def checked_by_programs(folder: Path, files: Sequence[str], overlays: Sequence[str], commands: Commands) -> list[Finding]:
    """What `kubectl kustomize` and `kubernetes-validate --strict` say, where they are installed. Neither asks a cluster."""
    findings = []
    if commands.there("kubectl"):
        for overlay in overlays:
            try:
                commands.run(["kubectl", "kustomize", overlay], folder=folder, timeout_s=_TIMEOUT_S)
            except AweighError as error:
                findings.append(Finding(place=f"{overlay}/kustomization.yaml", message=error.message))
    standard = [name for name in files if "service-monitor" not in name]
    if standard and commands.there(_SCHEMAS):
        try:
            commands.run([_SCHEMAS, "--strict", *standard], folder=folder, timeout_s=_TIMEOUT_S)
        except AweighError as error:
            findings.append(Finding(place="base", message=error.message))
    return findings

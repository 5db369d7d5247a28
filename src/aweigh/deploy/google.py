"""Google Cloud through its own client, `gcloud`. Called by the targets cloud-run, cloud-functions and vertex."""

import re
from typing import Any, Final

import msgspec

from aweigh.core.errors import InvalidInput, Refused
from aweigh.deploy.commands import Commands

MEMORY_OF_CPU: Final = {1: (512, 4096), 2: (512, 8192), 4: (2048, 16384), 6: (4096, 24576), 8: (4096, 32768)}
"""Least and most memory, in MiB, that goes with so many processors: https://cloud.google.com/run/docs/configuring/services/memory-limits"""
_TIMEOUT_S: Final = 3600
"""Deploying a model to an endpoint of Vertex AI takes a quarter of an hour and more."""
_REGION: Final = re.compile(r"(?:[a-z]+-[a-z]+[0-9]{1,2})?", re.ASCII)
_PROJECT: Final = re.compile(r"(?:(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9])?", re.ASCII)
_ACCOUNT: Final = re.compile(r"(?:[a-z0-9-]{1,63}@[a-z0-9.-]{1,253})?", re.ASCII)
_GONE: Final = ("NOT_FOUND", "could not be found", "Cannot find", "not found", "does not exist")


class Google:
    """The client, for one project and region; none means what it is configured with."""

    def __init__(self, commands: Commands, *, project: str, region: str) -> None:
        self._commands = commands
        self._project, self._region = project, region

    def call(self, *words: str) -> str:
        """What it printed. Raises Unavailable, Refused with its own words."""
        return self._commands.run(["gcloud", *words, *where(self._project, self._region), "--quiet"], timeout_s=_TIMEOUT_S)

    def document(self, *words: str) -> Any:
        """The same as JSON; None where it printed none."""
        try:
            return msgspec.json.decode(self.call(*words, "--format=json"))
        except msgspec.DecodeError:
            return None

    def remove(self, *words: str) -> None:
        """The same; what is gone already is no failure."""
        try:
            self.call(*words)
        except Refused as error:
            if not any(word in error.message for word in _GONE):
                raise


def cpu_of(memory_mib: int) -> int:
    """Processors that so much memory goes with, as few as may be; as many as there are where it is more than goes with any."""
    return next((cpu for cpu, (_, most) in MEMORY_OF_CPU.items() if most >= memory_mib), max(MEMORY_OF_CPU))


def memory_mistake(cpu: int, memory_mib: int) -> str:
    """What Google would refuse of the two; empty where it takes them."""
    if cpu not in MEMORY_OF_CPU:
        return f"cpu is {str(cpu)!r}: it may be {', '.join(map(str, MEMORY_OF_CPU))}"
    least, most = MEMORY_OF_CPU[cpu]
    if memory_mib > most:
        enough = cpu_of(memory_mib)
        return f"{memory_mib} MiB need {enough if memory_mib <= MEMORY_OF_CPU[enough][1] else 'more'} processors"
    return f"{cpu} processors need {least} MiB of memory at least, and not {memory_mib}" if memory_mib < least else ""


def where(project: str, region: str) -> list[str]:
    """The words that say project and region."""
    return [*([f"--project={project}"] if project else []), *([f"--region={region}"] if region else [])]


def checked(*, project: str, region: str, account: str = "") -> None:
    """Raises InvalidInput for what is no project, region or service account."""
    if not _REGION.fullmatch(region):
        raise InvalidInput(f"{region[:80]!r} is not a region of Google Cloud", hint="write it as europe-west1")
    if not _PROJECT.fullmatch(project):
        raise InvalidInput(f"{project[:80]!r} is not the id of a project", hint="6 to 30 lower-case letters, digits and '-'")
    if not _ACCOUNT.fullmatch(account):
        raise InvalidInput(f"{account[:80]!r} is not a service account", hint="write it as NAME@PROJECT.iam.gserviceaccount.com")

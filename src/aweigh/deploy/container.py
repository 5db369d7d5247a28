"""What a container of the server is run with, whoever runs it: image, environment, memory, time to end. Used by the targets that run containers.

One container is one process with one core, as capacities are stated; more is answered by more of them.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Final

from aweigh.core.errors import InvalidInput
from aweigh.core.names import Digest
from aweigh.deploy.target import DeployJob

PORT: Final = 8080
USER: Final = 65532
"""The number that images of servers run as; no machine has a person of it."""
KEYS_FOLDER: Final = "/etc/aweigh/keys"
KEYS_FILE: Final = f"{KEYS_FOLDER}/keys"
_ADDRESS: Final = re.compile(
    r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_MEMORY_STEP_MIB: Final = 32
_MEMORY_SPARE: Final = 1.25
"""What is planned beyond what was reckoned: bodies, answers, batches."""
_MARGIN_S: Final = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Everything but the words of one client."""

    name: str
    image: str
    model: str
    """`fraud:3`."""
    version: str
    digest: Digest
    """Of the package."""
    environment: Mapping[str, str]
    memory_mib: int
    start_s: float
    drain_s: float
    """From SIGTERM until the server has ended, at the most."""

    @property
    def grace_s(self) -> int:
        """Whole seconds after which whoever stops it may kill it: longer than it takes to end by itself."""
        return math.ceil(self.drain_s) + _MARGIN_S

    @property
    def start_limit_s(self) -> int:
        """A start that takes longer has failed: ten times what was measured, a minute at least."""
        return max(60, math.ceil(10 * self.start_s))

    @property
    def labels(self) -> dict[str, str]:
        """Of the container, in every client alike."""
        return {"aweigh.name": self.name, "aweigh.model": self.model, "aweigh.package": self.digest}


def image_address(text: str) -> str:
    """The address of an image. Raises InvalidInput for what is none: it stands among the words of commands."""
    if len(text) > 512 or not _ADDRESS.fullmatch(text):
        raise InvalidInput(f"{text[:80]!r} is not the address of an image", hint="write it as registry.example/team/name:tag@sha256:…")
    return text


def environment_of(job: DeployJob, *, drain_delay_s: float = 0.0, keys_file: str = "") -> dict[str, str]:
    """Settings of a server that others than this machine may reach."""
    settings = job.settings
    return {
        "PORT": str(PORT),
        "AWEIGH_HOST": "0.0.0.0",  # noqa: S104  # of the container's own network
        "AWEIGH_NO_AUTH": "false" if keys_file else "true",
        **({"AWEIGH_API_KEY_FILE": keys_file} if keys_file else {}),
        "AWEIGH_DRAIN_DELAY_S": f"{drain_delay_s:g}",
        "AWEIGH_DRAIN_TIMEOUT_S": f"{settings.drain_timeout_s:g}",
        "AWEIGH_REQUEST_TIMEOUT_S": f"{settings.request_timeout_s:g}",
        "AWEIGH_LOG_FORMAT": "json",
        **({"AWEIGH_OBJECTIVE": str(job.demand.objective)} if job.demand.objective else {}),
        "ORT_DISABLE_TELEMETRY": "1",
    }


def memory_of(job: DeployJob) -> int:
    """MiB that a server of the job may take."""
    return math.ceil(job.capacity.memory_mib * _MEMORY_SPARE / _MEMORY_STEP_MIB) * _MEMORY_STEP_MIB


def container_of(job: DeployJob, *, drain_delay_s: float = 0.0, keys: bool = False) -> Container:
    """`drain_delay_s` is what whoever deals requests out takes to notice that it is about to end; `keys` says that a file of API keys is there."""
    reference = job.package.reference
    return Container(
        name=job.name,
        image=image_address(job.image),
        model=str(reference),
        version=str(reference.version or 0),
        digest=job.package.digest,
        environment=environment_of(job, drain_delay_s=drain_delay_s, keys_file=KEYS_FILE if keys else ""),
        memory_mib=memory_of(job),
        start_s=job.capacity.start_s,
        drain_s=drain_delay_s + job.settings.drain_timeout_s,
    )

"""How to reach a remote: certificates, credentials, patience. Made by `app` from the settings; must never be shown or logged."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a remote is opened with."""

    ca_file: str = ""
    plain_http: bool = False
    username: str = ""
    password: str = dataclasses.field(default="", repr=False)
    docker_config: Path | None = None
    mount_from: str = ""
    """Another repository of the registry that may hold blobs already."""
    check: Callable[[str, int], list[str]] | None = None
    """The addresses of a host that may be asked at a port, else an error; nothing else is connected to. None: a registry is asked as it is named."""
    timeout_s: float = 60.0
    pause: Callable[[float], None] = time.sleep
    """Waits before another attempt."""

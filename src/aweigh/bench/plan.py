"""What a load test is told: where to, what to ask, and how the load arrives. Crosses to the generator's processes as it stands."""

from typing import Final, Literal

import msgspec

Arrival = Literal["poisson", "constant"]
MAX_PROCESSES: Final = 64
MAX_CONNECTIONS: Final = 10_000
TIMELINE_PARTS: Final = 60
"""Most parts that the timeline of one run is cut into."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The server, and how each request is addressed. `path` is the REST route, or that of the gRPC method."""

    protocol: Literal["http", "grpc"]
    host: str
    port: int
    path: str
    tls: bool = False
    ca_file: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One request body, with the headers that belong to it, and what its answer must hold (JSON), if that is checked."""

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    expected: bytes = b""
    known: bytes = b""
    """An answer's body that is known to be right: one like it needs no further look."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How requests arrive: at a rate (open loop), or from so many users who each wait for their answer (closed loop)."""

    rate: float = 0.0
    """Requests per second; above 0 makes it an open loop."""
    arrival: Arrival = "poisson"
    concurrency: int = 0
    """Users of a closed loop."""
    duration_s: float = 10.0
    warmup_s: float = 2.0
    """The same load, before what is measured."""
    connections: int = 0
    """0 chooses: a connection per user over HTTP/1.1, 64 in an open loop, at most 4 over gRPC."""
    timeout_s: float = 10.0
    """From when a request was due to its whole answer."""
    processes: int = 1
    seed: int = 0

    @property
    def is_open(self) -> bool:
        return self.rate > 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One generator process's part of a load: `share` of `processes`, counted from 0."""

    target: Target
    questions: tuple[Question, ...]
    load: Load
    share: int = 0

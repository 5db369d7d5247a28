"""What a peer may send, for both protocols; taken from Settings once. Times in seconds."""

import dataclasses

from aweigh.core.errors import TooLarge
from aweigh.core.settings import Settings


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes."""

    max_body: int
    max_head: int
    max_connections: int
    max_streams: int
    idle_timeout_s: float
    request_timeout_s: float
    max_headers: int = 128
    max_chunks: int = 65_536
    """Chunks in one HTTP/1.1 body: a flood of tiny ones costs more than it carries."""

    def too_large(self) -> TooLarge:
        """What is said of a body, or of a gRPC message, that is larger than allowed: the same at every door, whenever it is noticed."""
        return TooLarge(f"a request of more than {self.max_body} bytes", hint="max_body_bytes sets the limit")

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """The limits that the settings ask for."""
        return cls(
            max_body=settings.max_body_bytes,
            max_head=settings.max_head_bytes,
            max_connections=settings.max_connections,
            max_streams=settings.max_streams,
            idle_timeout_s=settings.idle_timeout_s,
            request_timeout_s=settings.request_timeout_s,
        )

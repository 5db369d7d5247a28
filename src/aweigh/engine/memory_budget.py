"""How much memory the loaded models of this process may take, and which of them make room. Asked by `control` before and after a load; does no I/O.

What a model takes is guessed from its files before its first load, and known from what the load measured ever after.
"""

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase

from aweigh.core.errors import InsufficientMemory


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A loaded model as the budget sees it. `last_used` orders models; only the order matters."""

    name: str
    version: str
    size_bytes: int
    last_used: float
    stays: str = ""
    """Why it may not be evicted now; empty where it may."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The memory for models in one process. `budget_bytes` is its part of the server's, 0 for no limit."""

    budget_bytes: int
    used_bytes: int
    """What its models take, those included that are about to take over or to end."""
    evicted: int
    """Models that made room for others."""
    woken: int
    """Loads that requests have caused."""
    waiting: int
    """Requests that wait for a load now."""


class MemoryBudget:
    """`limit_bytes` for all models together, 0 for no limit. `pinned`: names or patterns with * and ?, separated by commas, that are never evicted."""

    def __init__(self, limit_bytes: int, pinned: str = "") -> None:
        self.limit_bytes = limit_bytes
        self._pinned = [pattern.strip() for pattern in pinned.split(",") if pattern.strip()]
        self._measured: dict[str, int] = {}
        self._reserved: dict[str, int] = {}

    @property
    def reserved_bytes(self) -> int:
        """Set aside for what is being loaded."""
        return sum(self._reserved.values())

    def pinned(self, name: str) -> bool:
        """Whether a name is never evicted."""
        return any(fnmatchcase(name, pattern) for pattern in self._pinned)

    def need(self, digest: str, guess_bytes: int) -> int:
        """What a package takes: as measured when it was last loaded here, else the guess."""
        return self._measured.get(digest, guess_bytes)

    def measured(self, digest: str, size_bytes: int) -> None:
        """A load has shown what a package takes."""
        self._measured[digest] = size_bytes

    def reserve(self, key: str, need_bytes: int, held: Sequence[Held]) -> list[Held]:
        """Set memory aside for a load; the models that are to be evicted first, the least recently used first.

        Raises InsufficientMemory, having set nothing aside and naming nobody, where even that would not make room.
        """
        victims: list[Held] = []
        if self.limit_bytes:
            used = self.reserved_bytes + sum(model.size_bytes for model in held)
            missing = used + need_bytes - self.limit_bytes
            for model in sorted((each for each in held if not each.stays), key=lambda each: each.last_used):
                if missing <= 0:
                    break
                victims.append(model)
                missing -= model.size_bytes
            if missing > 0:
                raise self._refusal(key, need_bytes, used, held)
        self._reserved[key] = need_bytes
        return victims

    def release(self, key: str) -> None:
        """The load has ended, well or badly: what it took is counted by itself now."""
        self._reserved.pop(key, None)

    def _refusal(self, key: str, need_bytes: int, used: int, held: Sequence[Held]) -> InsufficientMemory:
        staying = ", ".join(f"{model.name}:{model.version} ({model.stays})" for model in held if model.stays)
        return InsufficientMemory(
            f"model '{key}' needs {mib(need_bytes)}, and of the memory budget of {mib(self.limit_bytes)} {mib(max(0, self.limit_bytes - used))} are free"
            + (f"; these stay: {staying}" if staying else ""),
            hint="raise memory_budget_bytes, unload a model, or pin fewer; with version_transition = resource the old version goes first",
            need_bytes=need_bytes,
            used_bytes=used,
            budget_bytes=self.limit_bytes,
        )


def never_fits(error: InsufficientMemory) -> bool:
    """Whether a model is larger than the whole budget."""
    return int(str(error.context.get("need_bytes", 0))) > int(str(error.context.get("budget_bytes", 0)))


def mib(size_bytes: int) -> str:
    """A size as people read it."""
    return f"{size_bytes / 1024**2:.1f} MiB"

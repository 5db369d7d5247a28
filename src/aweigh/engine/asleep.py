"""Versions that this process serves but has not loaded, or no more: those that are loaded on first use, and those that made room for others.

Part of the data plane, which asks it only when a request finds nothing loaded. Knows no model and loads none.
"""

from collections.abc import Iterator
from typing import Final

ON_FIRST_USE: Final = "loaded on first use"
EVICTED: Final = "it made room for others, and is loaded again on its next use"
NO_ROOM: Final = "there was no room for it at the start; loaded on its first use"
REPLACED: Final = "it makes way for another version, and is loaded again if that fails"


class Asleep:
    """By name and version, each with the reason why it is not loaded. One version of a name may be what the bare name means."""

    def __init__(self) -> None:
        self._reasons: dict[str, dict[str, str]] = {}
        self._default: dict[str, str] = {}

    def put(self, name: str, version: str, reason: str, *, default: bool) -> None:
        """A version is not loaded, and is to be when it is asked for; `default` where a bare name means it."""
        self._reasons.setdefault(name, {})[version] = reason
        if default:
            self._default[name] = version

    def prefer(self, name: str, version: str) -> bool:
        """Let the bare name mean this version, if it is here; otherwise it means none of these."""
        if version in self._reasons.get(name, {}):
            self._default[name] = version
            return True
        self._default.pop(name, None)
        return False

    def default(self, name: str) -> str:
        """The version that a bare name means; empty where that is loaded, or there is none."""
        return self._default.get(name, "")

    def holds(self, name: str, version: str) -> bool:
        return version in self._reasons.get(name, {})

    def drop(self, name: str, version: str) -> bool:
        """Forget a version: it is loaded, or served no more. Whether a bare name meant it."""
        reasons = self._reasons.get(name, {})
        reasons.pop(version, None)
        if not reasons:
            self._reasons.pop(name, None)
        if self._default.get(name) == version:
            del self._default[name]
            return True
        return False

    def settle(self, name: str) -> None:
        """What made way for another version is not wanted any more: that one is there."""
        for version, reason in list(self._reasons.get(name, {}).items()):
            if reason == REPLACED:
                self.drop(name, version)

    def remove(self, name: str) -> list[str]:
        """Forget a name; its versions."""
        self._default.pop(name, None)
        return list(self._reasons.pop(name, ()))

    def versions(self, name: str) -> list[str]:
        return list(self._reasons.get(name, ()))

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        """Name, version and reason of each, by name."""
        return ((name, version, reason) for name in sorted(self._reasons) for version, reason in self._reasons[name].items())

"""When a child that died may start again: at once after one death, after pauses that grow while it goes on dying. Knows no process, no clock."""

from typing import Final

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 30.0
_LOOPING: Final = 3
_FORGOTTEN_S: Final = 60.0


class Backoff:
    """Deaths in a row. `now` is in seconds of any one clock."""

    __slots__ = ("_last", "deaths", "not_before", "why")

    def __init__(self) -> None:
        self.deaths = 0
        self.not_before = 0.0
        self.why = ""
        """Of the last death."""
        self._last = 0.0

    def died(self, why: object, now: float) -> None:
        """Note a death; one long after the last begins anew."""
        if now - self._last > _FORGOTTEN_S + self.pause_s:
            self.deaths = 0
        self.deaths += 1
        self.why = str(why)
        self._last = now
        self.not_before = now + self.pause_s

    def answered(self) -> None:
        """It lives and does its work: forget the deaths."""
        self.deaths = 0

    def wait_s(self, now: float) -> float:
        """Seconds until it may start; 0 when it may."""
        return max(0.0, self.not_before - now) if self.deaths else 0.0

    @property
    def pause_s(self) -> float:
        """How long it must stay down after the last death."""
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self.deaths - 2, 20)) if self.deaths > 1 else 0.0

    @property
    def looping(self) -> bool:
        """Whether it died so often that nobody should wait for it."""
        return self.deaths >= _LOOPING

"""Takes a share of what comes one by one, as evenly as can be: of any run within one or two of its share, without chance."""

from typing import Final

_GOLDEN: Final = 0.6180339887498949
"""Multiples of the golden ratio modulo 1 fill the unit interval more evenly than any others (Kronecker sequence)."""


class Dealer:
    """`share` of the answers of `takes` are True; the share of one who deals nothing out is 0."""

    __slots__ = ("_place", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._place = 0.0

    def takes(self) -> bool:
        """Whether what comes now belongs to the share."""
        self._place = (self._place + _GOLDEN) % 1.0
        return self._place < self._share

"""Evidence: what was checked of a variant, on what data and machine, with which figures and verdict. Data only; `verify` makes it."""

import enum
from typing import Final

import msgspec

BATCH_INVARIANCE: Final = "batch-invariance"
PADDING_INVARIANCE: Final = "padding-invariance"
NOT_GATING: Final = frozenset({BATCH_INVARIANCE, PADDING_INVARIANCE})
"""Checks that a variant may fail: it is served all the same, each request by itself, or only with those of its size."""


class Strength(enum.StrEnum):
    """How much the proof is worth: `full` has the user's own sample behind it, `weak` only inputs made from the signature."""

    FULL = "full"
    WEAK = "weak"


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The fingerprint that decides whether figures of one machine speak for another."""

    system: str
    architecture: str
    processor: str
    cores: int
    features: tuple[str, ...] = ()
    """Instruction sets that change answers: avx2, avx512f, avx512_vnni, avx512_bf16, amx_int8, asimd, …"""
    python: str = ""


class WorstInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An input on which a variant strays furthest: where it is, what it holds, what was expected and given (shortened text)."""

    case: str
    row: int
    output: str
    inputs: str
    expected: str
    actual: str


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One check: its figures, the limits they were held to, and the inputs that fared worst."""

    name: str
    passed: bool
    figures: dict[str, float | None] = {}
    """None stands for a figure that is not a finite number."""
    limits: dict[str, float] = {}
    note: str = ""
    worst: tuple[WorstInput, ...] = ()


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All checks of one variant in one run. `passed` is the verdict: every check that gates passed."""

    passed: bool
    strength: Strength
    data: str
    made_at: str
    machine: Machine
    checks: tuple[Check, ...]
    versions: dict[str, str] = {}
    repairs: tuple[str, ...] = ()
    """Known repairs that were needed for the conversion to agree, in the order tried."""
    batch_invariant: bool = False
    """Whether f(batch)[i] equals f(x_i); batching stays off without it."""
    figures: dict[str, float] = {}
    """Measured, not gating: `latency_us_b1`, `latency_us_b64`, `latency_us_b1000`, `size_bytes`, `load_ms`, `source_latency_us_b1`, …"""

    def check(self, name: str) -> Check | None:
        """The check of that name, or None."""
        return next((check for check in self.checks if check.name == name), None)

"""Proves that a variant answers as its source did, and writes the evidence. `prove` is what `pack` calls, `reprove` what `aweigh verify` calls."""

from aweigh.verify.proof import prove, prove_loaded, reprove

__all__ = ["prove", "prove_loaded", "reprove"]

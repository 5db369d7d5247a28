"""Nouns and contracts: what every other layer speaks of. Imports the standard library, numpy and msgspec, and nothing of aweigh above it."""

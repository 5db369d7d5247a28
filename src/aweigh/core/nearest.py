"""The known word that a mistyped one is nearest to. Imports what compares only when somebody has mistyped: a server seldom needs it."""

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """The most similar of the known words, or nothing where none is similar."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1)), "")

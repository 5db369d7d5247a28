"""The known word that a mistyped one is nearest to. Imports what compares only when somebody has mistyped: a server seldom needs it."""

from collections.abc import Iterable, Sequence


def nearest(word: str, known: Iterable[str]) -> str:
    """The most similar of the known words, or nothing where none is similar."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1)), "")


def listed(names: Sequence[str], most: int = 20) -> str:
    """The first names, and how many more there are; "none" where there is none."""
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more

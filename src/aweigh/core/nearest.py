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


def meant_column(name: str, names: Sequence[str]) -> str:
    """The hint for a name that is no column: the nearest, the columns, or what separates them."""
    if sign := separator(names):
        return f"the columns are separated by {sign}: save the file with commas"
    near = nearest(name, names)
    return (f"did you mean {near!r}? " if near else "") + f"its columns are: {listed(names)}"


def separator(names: Sequence[str]) -> str:
    """What separates columns that were read as one, in words; "" where nothing says so."""
    sign = next((sign for sign in (";", "\t") if len(names) == 1 and sign in names[0]), "")
    return "tabs" if sign == "\t" else sign and repr(sign)

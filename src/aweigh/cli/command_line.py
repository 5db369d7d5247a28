"""The command line as packages keep it in their provenance, which goes wherever the package goes: without what addresses hold of secrets.

Called by the commands that pack.
"""

import re
import shlex
from collections.abc import Sequence
from typing import Final

_HIDDEN: Final = "***"
_WHO: Final = re.compile(r"://[^/?#\s]*@")


def kept(words: Sequence[str]) -> str:
    """The command as a person would write it; queries of addresses (signed ones have their signature there) and user names are `***`."""
    return shlex.join(["aweigh", *map(_without_secrets, words)])


def _without_secrets(word: str) -> str:
    if "://" not in word:
        return word
    address, hash_sign, fragment = word.partition("#")
    place, mark, _ = _WHO.sub(f"://{_HIDDEN}@", address).partition("?")
    return place + (mark and mark + _HIDDEN) + hash_sign + fragment

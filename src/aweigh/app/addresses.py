"""Is a word on the command line an address of a model elsewhere, and what is that model called here? Apart from `fetching`, which knows how to get it."""

import re
from typing import Final

from aweigh.core.names import ModelName, suggest_name
from aweigh.sources import scheme_of

_REFERENCE: Final = re.compile(r"@refs/[a-z]+/[^/]+")
"""A revision with slashes in it."""


def is_address(source: object) -> bool:
    """Whether a source is an address of a model elsewhere. Raises InvalidInput for a scheme that is not known."""
    return isinstance(source, str) and bool(scheme_of(source))


def name_from_address(text: str) -> ModelName:
    """A model's name made from an address: its last part, without version, digest and ending."""
    scheme = scheme_of(text)
    address, _, path = text.partition("#")
    address = _REFERENCE.sub("", address) if scheme == "hf" else address
    if path and not path.startswith("sha256="):
        last = path.rstrip("/").rpartition("/")[2]
    else:
        last = address.rstrip("/").rpartition("/")[2].partition("@")[0].partition("?")[0]
        last = last.partition(":")[0] if scheme == "oci" else last
    return suggest_name(last.partition(".")[0])

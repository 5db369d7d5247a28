"""What may be said about a source that is to be packed. Apart from `pack`, so that naming options does not load the converters."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """`sample` and `labels` are paths or objects; `pre` and `post` name hooks as module:function."""

    sample: object = None
    labels: object = None
    trust: bool = False
    pre: str = ""
    post: str = ""
    padding: Mapping[str, int | float | str] = dataclasses.field(default_factory=dict)
    """Of inputs by name: what fills them up so that requests of different sizes can run together. Numbers may come as text."""
    licence: str = ""
    description: str = ""
    command: str = ""
    """The command line, for the provenance."""

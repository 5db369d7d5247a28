"""What may be said about a source that is to be packed. Apart from `pack`, so that naming options does not load the converters."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """`sample` and `labels` are paths or objects; `pre` and `post` name hooks as module:function."""

    sample: object = None
    labels: object = None
    trust: bool = False
    pre: str = ""
    post: str = ""
    licence: str = ""
    description: str = ""
    command: str = ""
    """The command line, for the provenance."""

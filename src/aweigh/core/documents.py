"""JSON documents of a package that carry their format version: an unknown newer one is refused by name, never guessed at."""

from typing import Final, TypeVar

import msgspec

from aweigh.core.errors import InvalidFile, Unsupported

_VERSION_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DAMAGED: Final = "the package is damaged: pack or pull it again"
_NEWER: Final = "a newer aweigh made the package, or it is damaged: pip install -U aweigh, else pack or pull it again"
Document = TypeVar("Document")


def decode_document(data: bytes, decoder: msgspec.json.Decoder[Document], *, newest: int, what: str, place: str) -> Document:
    """Read one of format version 1 to `newest`. Raises Unsupported for a newer version, InvalidFile with the JSON path for anything malformed."""
    try:
        version = msgspec.json.decode(_VERSION_DECODER.decode(data).get("format_version", b"null"))
        if isinstance(version, int) and version > newest:
            raise Unsupported(
                f"{place}: format version {version} is newer than this aweigh understands ({newest})",
                hint="upgrade aweigh: pip install -U aweigh",
            )
        if not isinstance(version, int) or version < 1:
            raise InvalidFile(f"{place}: format version {version!r} is none", hint=_DAMAGED)
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        hint = _NEWER if "unknown field" in str(error) else _DAMAGED
        raise InvalidFile(f"{place}: not {what}: {error}", hint=hint) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidFile(f"{place}: not {what}: {error}", hint=_DAMAGED) from error

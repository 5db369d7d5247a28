"""What a .tflite file says of the operations that it needs, read in flatbuffers' format with every offset checked, before LiteRT's own reader sees it.

Called by packing's judge, and again by the runtime, whose package may come from elsewhere.
"""

import mmap
import struct
from pathlib import Path
from typing import Final

from aweigh.core.errors import FileMissing, InvalidFile, Unsupported

_MARK: Final = b"TFL3"
_CUSTOM: Final = 32
"""The number of operations that have a name of their own."""
_MOST: Final = 100_000
_KNOWN: Final = frozenset({"Mfcc", "AudioSpectrogram", "NumericVerify", "TFLite_Detection_PostProcess", "edgetpu-custom-op"})
"""Those that LiteRT, or its delegate for the Edge TPU, brings."""
_CODES_FIELD, _SUBGRAPHS_FIELD, _BUFFERS_FIELD = 1, 2, 4
_AGAIN: Final = "convert it again with built-in operations alone, or pack the SavedModel or .keras file it was made from"


class _Table:
    """A flatbuffer table: its fields by number, each within the data."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data = data
        self.at = at
        self._fields = at - _read(data, "<i", at)
        self._size = _read(data, "<H", self._fields)

    def place(self, field: int) -> int:
        """Where a field's value lies; 0 where it has none."""
        entry = 4 + 2 * field
        if entry + 2 > self._size:
            return 0
        offset = _read(self.data, "<H", self._fields + entry)
        return self.at + offset if offset else 0

    def number(self, field: int, form: str) -> int:
        place = self.place(field)
        return _read(self.data, form, place) if place else 0

    def text(self, field: int) -> str:
        place = self.place(field)
        if not place:
            return ""
        place += _read(self.data, "<I", place)
        size = _read(self.data, "<I", place)
        if size > len(self.data) - place - 4:
            raise ValueError(f"a text claims {size} bytes")
        return bytes(self.data[place + 4 : place + 4 + size]).decode("utf-8", "replace")

    def tables(self, field: int) -> "list[_Table]":
        place = self.place(field)
        if not place:
            return []
        place += _read(self.data, "<I", place)
        count = _read(self.data, "<I", place)
        if count > min(_MOST, (len(self.data) - place - 4) // 4):
            raise ValueError(f"a list claims {count} entries")
        return [_Table(self.data, at + _read(self.data, "<I", at)) for at in range(place + 4, place + 4 + 4 * count, 4)]


def judge_tflite(file: Path) -> list[str]:
    """The operations with names of their own, all known. Raises InvalidFile for bytes that are no model, Unsupported naming operations that LiteRT does not have."""
    if not file.is_file():
        raise FileMissing(f"{file.name}: there is no such file", hint="the package is damaged: pack or pull it again")
    with file.open("rb") as stream:
        if file.stat().st_size == 0:
            raise InvalidFile(f"{file.name}: the file is empty", hint="convert the model again")
        # closed with the last view of it, which an error may hold
        whole = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        custom = _custom(whole)
    except (ValueError, struct.error) as error:
        raise InvalidFile(f"{file.name}: not a model that LiteRT can load: {error}", hint="convert or copy it again") from error
    strange = [name for name in custom if name not in _KNOWN]
    if strange:
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        raise Unsupported(f"{file.name}: the model needs operations that LiteRT does not have: {', '.join(strange[:5])}{more}", hint=_AGAIN)
    return custom


def _custom(data: memoryview) -> list[str]:
    if bytes(data[4:8]) != _MARK:
        raise ValueError("it does not begin as one")
    model = _Table(data, _read(data, "<I", 0))
    if not model.tables(_SUBGRAPHS_FIELD):
        raise ValueError("it holds no graph")
    model.tables(_BUFFERS_FIELD)
    found = set()
    for code in model.tables(_CODES_FIELD):
        if max(code.number(0, "<b"), code.number(3, "<i")) == _CUSTOM:
            found.add(code.text(1)[:100] or "one without a name")
    return sorted(found)


def _read(data: memoryview, form: str, at: int) -> int:
    if at < 0:
        raise ValueError("an offset leads out of the file")
    value: int = struct.unpack_from(form, data, at)[0]
    return value

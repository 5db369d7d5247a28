"""The tensor file: named tensors in one file without pickle, used for golden sets. Read by every stage, written by `pack`.

Layout: 8 bytes magic `AWTENS1\\n`, 8 bytes little-endian header length, the header (JSON), then raw tensors (Open Inference raw form).
Missing BYTES elements are listed by position in the header. Must never trust a length: every one is checked against the file.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.tensors import Datatype, Tensor, from_raw, to_raw

MAGIC: Final = b"AWTENS1\n"


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    size_bytes: int
    missing: tuple[int, ...] = ()
    text: bool = False


_ENTRIES: Final = msgspec.json.Decoder(tuple[_Entry, ...])


def write_tensors(tensors: Mapping[str, tuple[Datatype, Tensor]]) -> bytes:
    """The file's bytes for named tensors; the same tensors give the same bytes."""
    entries, blobs = [], []
    for name, (datatype, tensor) in tensors.items():
        items = tensor.ravel().tolist() if datatype is Datatype.BYTES else []
        missing = tuple(at for at, item in enumerate(items) if item is None)
        raw = to_raw(tensor, datatype)
        shape = tuple(int(size) for size in tensor.shape)
        text = bool(items) and not any(isinstance(item, bytes) for item in items)
        entries.append(_Entry(name=name, datatype=datatype, shape=shape, size_bytes=len(raw), missing=missing, text=text))
        blobs.append(raw)
    header = msgspec.json.encode(entries)
    return b"".join((MAGIC, len(header).to_bytes(8, "little"), header, *blobs))


def read_tensors(data: bytes, *, place: str) -> dict[str, tuple[Datatype, Tensor]]:
    """Read a tensor file. Raises InvalidFile, naming `place`, when anything does not add up."""
    if data[:8] != MAGIC or len(data) < 16:
        raise InvalidFile(f"{place}: not a tensor file")
    start = 16 + int.from_bytes(data[8:16], "little")
    try:
        entries = _ENTRIES.decode(data[16:start])
        found: dict[str, tuple[Datatype, Tensor]] = {}
        for entry in entries:
            if not 0 <= entry.size_bytes <= len(data) - start:
                raise InvalidFile(f"{place}: tensor '{entry.name}' runs past the end of the file")
            if entry.name in found:
                raise InvalidFile(f"{place}: tensor '{entry.name}' is there twice")
            tensor = from_raw(memoryview(data)[start : start + entry.size_bytes], entry.datatype, entry.shape, name=entry.name)
            found[entry.name] = (entry.datatype, _as_written(tensor, entry))
            start += entry.size_bytes
    except (msgspec.DecodeError, InvalidInput, UnicodeDecodeError, IndexError, RecursionError) as error:
        if isinstance(error, InvalidFile):
            raise
        raise InvalidFile(f"{place}: damaged tensor file: {error}") from error
    if start != len(data):
        raise InvalidFile(f"{place}: {len(data) - start} bytes after the last tensor")
    return found


def _as_written(tensor: Tensor, entry: _Entry) -> Tensor:
    if entry.datatype is not Datatype.BYTES:
        return tensor
    items = [item.decode() if entry.text else item for item in tensor.ravel().tolist()]
    for at in entry.missing:
        if at < 0:
            raise IndexError(f"missing element {at} of '{entry.name}'")
        items[at] = None
    filled = np.empty(len(items), dtype=object)
    filled[:] = items
    return filled.reshape(entry.shape)

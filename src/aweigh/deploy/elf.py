"""What a shared library asks of the machine that loads it: its processor and its glibc, read from the file itself (ELF, 64 bits, little-endian).

Called by targets whose machines have a glibc of their own: a library that is newer than it fails at its first start, in the cloud.
"""

import re
import struct
from typing import Final

MACHINES: Final = {62: "x86_64", 183: "aarch64"}
_VERSION_NEEDED: Final = 0x6FFFFFFE
_GLIBC: Final = re.compile(rb"GLIBC_(\d+)\.(\d+)\Z")
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_NEED: Final = struct.Struct("<HHIII")
_AUX: Final = struct.Struct("<IHHII")


def is_elf(data: bytes) -> bool:
    """Whether these are the first bytes of a program or library."""
    return data[:6] == b"\x7fELF\x02\x01"


def machine_of(data: bytes) -> str:
    """'x86_64', 'aarch64', or the number of what is neither."""
    number = struct.unpack_from("<H", data, 18)[0]
    return MACHINES.get(number, str(number))


def glibc_of(data: bytes) -> tuple[int, int]:
    """The oldest glibc that has all it needs; (0, 0) where it needs none, or does not say."""
    try:
        return max((version for name in _needed(data) if (version := _version(name))), default=(0, 0))
    except (struct.error, ValueError, IndexError):
        return (0, 0)


def _version(name: bytes) -> tuple[int, int] | None:
    found = _GLIBC.match(name)
    return (int(found[1]), int(found[2])) if found else None


def _needed(data: bytes) -> list[bytes]:
    """Names of the versions of other libraries' symbols that this one uses (section .gnu.version_r)."""
    header = _HEADER.unpack_from(data)
    offset, size, count = header[6], header[11], header[12]
    sections = [_SECTION.unpack_from(data, offset + at * size) for at in range(count)]
    names = []
    for section in sections:
        if section[1] != _VERSION_NEEDED:
            continue
        strings = sections[section[6]][4]
        at = section[4]
        for _ in range(section[7]):
            _, entries, _, aux, step = _NEED.unpack_from(data, at)
            entry = at + aux
            for _ in range(entries):
                _, _, _, name, further = _AUX.unpack_from(data, entry)
                start = strings + name
                names.append(data[start : data.index(b"\0", start)])
                entry += further
            at += step
    return names

"""How large a file is once it is compressed, which is all that zeros and shared weights gain."""

import zlib
from pathlib import Path

_KILO = 1000


def packed_sizes(file: Path) -> str:
    """Its size as it is and compressed, in words."""
    data = file.read_bytes()
    return f"the file takes {len(data) / _KILO:.0f} kB, compressed {len(zlib.compress(data, 6)) / _KILO:.0f} kB"

"""Zip archives with the same bytes for the same files, whenever and wherever they are made. Called by targets that take archives."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_WHEN: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3


def zipped(files: Mapping[str, bytes | Path]) -> bytes:
    """An archive of the files, readable by everybody, in the order of their names."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _WHEN)
            entry.create_system, entry.external_attr = _UNIX, 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content if isinstance(content, bytes) else content.read_bytes())
    return made.getvalue()

"""Files that are written whole or not at all: beside their place first, then in it. Used wherever a reader may come at any time, or a disk may be full."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def whole(path: Path, *, mode: int = 0o600, durable: bool = False) -> Iterator[BinaryIO]:
    """A stream whose content takes the place of `path` when the block ends; where it raises, nothing does and nothing is left.

    `durable` waits until the content is on the disk. Raises OSError.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

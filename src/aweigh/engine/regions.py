"""Memory that clients share with the server: windows of files under /dev/shm, registered by name, that hold tensors. Used by the dialects.

Windows are read and written through a descriptor and never mapped: a client that shrinks its file gets an error, where a mapping would kill the
process, and what was checked of a tensor cannot change under the model. No error tells more of a region than its caller said. Must be called on
the event loop's thread.
"""

import dataclasses
import os
import re
import stat
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from aweigh.core.errors import AweighError, Conflict, InvalidInput, NotFound, TooLarge, Unavailable, Unsupported
from aweigh.core.settings import Settings

FOLDER: Final = Path("/dev/shm")  # noqa: S108  # where POSIX keeps shared memory on Linux: what clients make is found nowhere else
MAX_REGIONS: Final = 256
"""Each holds one descriptor."""
_MAX_NAME: Final = 256
_KEY: Final = re.compile(r"/*([A-Za-z0-9_][A-Za-z0-9_.-]{0,199})")
_OWN: Final = "aweigh"
"""Names that begin like this are the server's own, whatever the settings allow."""
_DISABLED: Final = "Client shared memory is disabled. Start the server with '--shared-memory' to enable."
_LIMIT: Final = 2**63


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What was registered. `offset` is where the window begins in the file, in bytes."""

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A part of a region that holds one tensor, or has room for one. Asked for anew by whoever uses it later: regions go."""

    region: Region
    offset: int
    byte_size: int

    def read(self) -> bytes:
        """The bytes as they are now. Raises InvalidInput where the file has become too short."""
        at, left = self.region.offset + self.offset, self.byte_size
        pieces: list[bytes] = []
        while left:  # one call moves no more than 2 GiB
            piece = os.pread(self.region.descriptor, left, at)
            if not piece:
                raise _shrunk(self.region)
            pieces.append(piece)
            at, left = at + len(piece), left - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, data: bytes | memoryview) -> None:
        """Write from the part's beginning. Raises InvalidInput where the file has become too short, Unavailable where memory is."""
        at, rest = self.region.offset + self.offset, memoryview(data).cast("B")
        if at + len(rest) > os.fstat(self.region.descriptor).st_size:
            raise _shrunk(self.region)
        try:
            while rest:
                done = os.pwrite(self.region.descriptor, rest, at)
                at, rest = at + done, rest[done:]
        except OSError as error:  # a file may be longer than there is memory for it
            raise Unavailable(
                f"shared memory region '{self.region.name}' cannot be written: {error.strerror}", hint="free some shared memory"
            ) from error


class Regions:
    """The registered regions of one process; none, and no way to register one, unless the settings say so."""

    def __init__(self, settings: Settings, folder: Path = FOLDER) -> None:
        self.allowed = settings.shared_memory
        self._patterns = tuple(pattern.strip() for pattern in settings.shared_memory_keys.split(","))
        self._max_bytes = settings.max_body_bytes
        self._folder = folder
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open a window of a file under a name. Raises Unsupported where this is off, InvalidInput, Conflict for a name that is taken, TooLarge."""
        self.check_allowed()
        if not name or len(name) > _MAX_NAME:
            raise InvalidInput("'region name' is necessary to register system shared memory region", hint=f"1 to {_MAX_NAME} characters")
        file = self._file_of(name, key)
        if name in self._regions:
            raise Conflict(f"shared memory region '{name}' already in manager", hint="unregister it first")
        if len(self._regions) >= MAX_REGIONS:
            raise TooLarge(f"{MAX_REGIONS} shared memory regions are registered already", hint="unregister what is not used")
        if not (0 <= offset < _LIMIT and 0 < byte_size < _LIMIT):
            raise _outside(name)
        descriptor = _open(self._folder / file, key)
        if offset + byte_size > os.fstat(descriptor).st_size:
            os.close(descriptor)
            raise _outside(name)
        self._regions[name] = Region(name=name, key=key, offset=offset, byte_size=byte_size, descriptor=descriptor)

    def unregister(self, name: str = "") -> None:
        """Close a region, or all where none is named; a name that is not registered is no error, as with Triton. Raises Unsupported."""
        self.check_allowed()
        for region in [self._regions[name]] if name in self._regions else ([] if name else list(self._regions.values())):
            del self._regions[region.name]
            os.close(region.descriptor)

    def status(self, name: str = "") -> list[Region]:
        """One region, or all. Raises Unsupported, NotFound."""
        self.check_allowed()
        if not name:
            return list(self._regions.values())
        if name not in self._regions:
            raise NotFound(f"Unable to find system shared memory region: '{name[:_MAX_NAME]}'", hint="register it first")
        return [self._regions[name]]

    def place(self, name: str, offset: int, byte_size: int) -> Place:
        """A part of a region, for one tensor. Raises NotFound, InvalidInput outside of the region, TooLarge."""
        region = self._regions.get(name)
        if region is None:
            hint = "register it first" if self.allowed else "this server takes no shared memory: send the data with the request"
            raise NotFound(f"Unable to find shared memory region: '{name[:_MAX_NAME]}'", hint=hint)
        if not 0 <= offset < region.byte_size:
            raise InvalidInput(f"Invalid offset for shared memory region: '{name}'", hint=f"the region has {region.byte_size} bytes")
        if byte_size < 0 or offset + byte_size > region.byte_size:
            raise InvalidInput(
                f"Invalid offset + byte size for shared memory region: '{name}'", hint=f"the region has {region.byte_size} bytes"
            )
        if byte_size > self._max_bytes:
            raise TooLarge(
                f"{byte_size} bytes of shared memory; this server takes {self._max_bytes}", hint="max_body_bytes sets the limit here too"
            )
        return Place(region=region, offset=offset, byte_size=byte_size)

    def check_allowed(self) -> None:
        """Raise Unsupported where the settings allow no shared memory."""
        if not self.allowed:
            raise Unsupported(_DISABLED, hint="only where every client may be trusted with it: see the guide on security")

    def close(self) -> None:
        """Close every region."""
        while self._regions:
            os.close(self._regions.popitem()[1].descriptor)

    def _file_of(self, name: str, key: str) -> str:
        """The file's name. Raises InvalidInput for whatever the settings do not allow, without telling whether it is there."""
        found = _KEY.fullmatch(key)
        file = found[1] if found else ""
        if not file or file.startswith(_OWN) or not any(fnmatchcase(file, pattern) for pattern in self._patterns):
            raise InvalidInput(
                f"cannot register shared memory region '{name}' - invalid shm key '{key[:_MAX_NAME]}'",
                hint="letters, digits, '.', '_' and '-', and a name that the setting shared_memory_keys allows",
            )
        return file


def _open(path: Path, key: str) -> int:
    """A descriptor of a regular file; whatever else it is, or that it is not there, is told in the same words."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        raise _unopened(key) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unopened(key)
    return descriptor


def _unopened(key: str) -> AweighError:
    return InvalidInput(f"Unable to open shared memory region: '{key}'", hint="make it first, readable and writable for the server's user")


def _outside(name: str) -> AweighError:
    return InvalidInput(
        f"failed to register shared memory region '{name}': invalid args", hint="offset and byte_size must lie within the file"
    )


def _shrunk(region: Region) -> AweighError:
    return InvalidInput(f"shared memory region '{region.name}' is shorter than it was when it was registered", hint="register it again")

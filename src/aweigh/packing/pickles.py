"""Reads pickle streams without running them: what they are, where they end, which globals they would import. Called by `recognise`.

The findings serve messages alone. They are never a verdict: a pickle is refused unless a person trusts it, whatever it names.
Must never import, load or execute anything that a stream names.
"""

import bz2
import dataclasses
import gzip
import io
import lzma
import pickletools
import zlib
from pathlib import Path
from typing import Final

SCAN_BYTES: Final = 8 * 1024 * 1024
"""How much of a stream (decompressed) is looked at."""
MAX_OPCODES: Final = 500_000
MAX_GLOBALS: Final = 200
_TEXT_OPCODES: Final = frozenset({"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"})
_PROTOCOL_0_START: Final = b"(]}c0INVFLS"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PickleScan:
    """What a look at the opcodes showed. `complete` means that the stream was followed to its STOP."""

    protocol: int
    globals: tuple[str, ...]
    complete: bool
    exhausted: bool
    """The stream ends before its STOP: the file is truncated."""
    opcodes: int

    @property
    def joblib(self) -> bool:
        return any(name.startswith("joblib.numpy_pickle") for name in self.globals)


def scan_pickle(data: bytes, *, whole: bool) -> PickleScan | None:
    """Follow the opcodes of `data`; None when they are no pickle. `whole` says that no bytes follow `data` in the file."""
    if not data or (data[0] != 0x80 and data[:1] not in {bytes([start]) for start in _PROTOCOL_0_START}):
        return None
    follower, stream = _Follower(), io.BytesIO(data)
    problem = ""
    try:
        while not follower.ended:
            for opcode, argument, _at in pickletools.genops(stream):
                follower.see(opcode.name, argument)
                if follower.count >= MAX_OPCODES:
                    follower.ended = True
                    break
    except (ValueError, KeyError, IndexError, UnicodeError, OverflowError, MemoryError) as error:
        problem = str(error)
    complete = follower.complete
    if data[0] != 0x80 and not complete:
        return None  # protocols 0 and 1 have no magic: only a stream that closes counts
    if data[0] == 0x80 and (len(data) < 2 or data[1] > 5 or (follower.count < 2 and len(data) > 2)):
        return None
    found = tuple(dict.fromkeys(follower.globals))
    exhausted = whole and not complete and _ran_out(problem) and not any(name.startswith("joblib.") for name in found)
    return PickleScan(
        protocol=data[1] if data[0] == 0x80 else 0, globals=found, complete=complete, exhausted=exhausted, opcodes=follower.count
    )


def _ran_out(problem: str) -> bool:
    return any(text in problem for text in ("exhausted", "not enough data", "no newline found", "only", "remain"))


class _Follower:
    """Keeps the strings last pushed and the memo, enough to name what STACK_GLOBAL takes.

    Behind the wrapper of an array of objects joblib writes a pickle with a memo of its own, after whose STOP the outer one goes on.
    """

    def __init__(self) -> None:
        self.globals: list[str] = []
        self.count = 0
        self.ended = self.complete = False
        self._strings: list[str] = []
        self._memo: dict[int, str] = {}
        self._outer: list[tuple[list[str], dict[int, str]]] = []
        self._last = ""

    def see(self, name: str, argument: object) -> None:
        self.count += 1
        last, self._last = self._last, name
        if name == "PROTO" and last == "BUILD" and any(each.startswith("joblib.numpy_pickle") for each in self.globals):
            self._outer.append((self._strings, self._memo))
            self._strings, self._memo = [], {}
        elif name == "STOP" and self._outer:
            self._strings, self._memo = self._outer.pop()
        elif name == "STOP":
            self.ended = self.complete = True
        elif name in _TEXT_OPCODES:
            self._strings = [*self._strings[-1:], str(argument)[:200]]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._strings[-1] if self._strings else ""
        elif name in {"BINPUT", "LONG_BINPUT", "PUT"} and isinstance(argument, int):
            self._memo[argument] = self._strings[-1] if self._strings else ""
        elif name in {"BINGET", "LONG_BINGET", "GET"} and isinstance(argument, int):
            self._strings = [*self._strings[-1:], self._memo.get(argument, "?")]
        elif name in {"GLOBAL", "INST"}:
            self._note(str(argument).replace(" ", ".", 1))
        elif name == "STACK_GLOBAL":
            self._note(".".join(self._strings[-2:]))

    def _note(self, name: str) -> None:
        if len(self.globals) < MAX_GLOBALS:
            self.globals.append(name)


def compression_of(head: bytes) -> str:
    """Name of the compression whose magic `head` carries, or ""."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:1] == b"\x78" and head[1:2] in {b"\x01", b"\x5e", b"\x9c", b"\xda"}:
        return "zlib"
    if head[:3] == b"BZh":
        return "bz2"
    if head[:6] == b"\xfd7zXZ\x00":
        return "xz"
    if head[:3] == b"\x5d\x00\x00":
        return "lzma"
    return "lz4" if head[:4] == b"\x04\x22\x4d\x18" else ""


def decompressed_head(path: Path, compression: str, limit: int = SCAN_BYTES) -> tuple[bytes, bool]:
    """At most `limit` bytes of what the file unpacks to, and whether that is all. Bytes that cannot be unpacked end the result."""
    if compression == "lz4":
        return b"", False  # no reader in the standard library: unscanned, so only trust will do
    if compression == "zlib":
        return _inflated(path, limit)
    found = bytearray()
    try:
        with _opened(path, compression) as file:
            while len(found) < limit:
                chunk = file.read(min(65536, limit - len(found)))
                if not chunk:
                    return bytes(found), True
                found += chunk
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
        return bytes(found), False
    return bytes(found), False


def _opened(path: Path, compression: str) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    if compression == "gzip":
        return gzip.open(path, "rb")
    return bz2.open(path, "rb") if compression == "bz2" else lzma.open(path, "rb")


def _inflated(path: Path, limit: int) -> tuple[bytes, bool]:
    decoder, found = zlib.decompressobj(), bytearray()
    with path.open("rb") as file:
        try:
            while len(found) < limit and not decoder.eof and (chunk := decoder.unconsumed_tail or file.read(65536)):
                found += decoder.decompress(chunk, limit - len(found))
        except zlib.error:
            return bytes(found), False
    return bytes(found), decoder.eof

"""WAV files as samples: PCM of 8, 16, 24 and 32 bits, float of 32 and 64, any number of channels mixed down to one. Called by `sounds.py`.

The standard library's `wave` reads neither floats nor the extensible form that recorders write, and believes what heads claim; here every length is held
against the bytes that are there. https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html
"""

import dataclasses
import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import InvalidInput, TooLarge

MAX_SECONDS: Final = 600.0
RATES: Final = range(1_000, 384_001)
MAX_CHANNELS: Final = 32
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
_UNKNOWN_SIZE: Final = frozenset({0, 0xFFFFFFFF})
"""What programs write that send a sound before they know how long it is."""
_MAX_CHUNKS: Final = 1000
Samples = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """Samples between -1 and 1, of all channels together, and how many make a second."""

    samples: Samples
    rate: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    coding: int
    channels: int
    rate: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


def read_wav(data: bytes) -> Sound:
    """The sound in a file. Raises InvalidInput that says what is wrong with it, TooLarge."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise InvalidInput("not a WAV file", hint="send WAV: ffmpeg -i sound.mp3 sound.wav makes it of others")
    form: _Form | None = None
    for name, body in _chunks(data):
        if name == b"fmt ":
            form = _form(body)
        if name == b"data":
            if form is None:
                raise InvalidInput("the WAV file's samples come before what they are", hint="write it again with another program")
            return Sound(samples=_samples(body, form), rate=form.rate)
    raise InvalidInput("the WAV file holds no samples", hint="send all of it")


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and body of each chunk. Raises InvalidInput where one is cut off."""
    at, view = 12, memoryview(data)
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(data):
            return
        name, size = bytes(view[at : at + 4]), int.from_bytes(view[at + 4 : at + 8], "little")
        left = len(data) - at - 8
        if name == b"data" and size in _UNKNOWN_SIZE and left and (size or not _only_chunks(view[at + 8 :])):
            size = left
        if size > left:
            raise InvalidInput(
                f"the WAV file claims {size} bytes for its chunk {name!r} and has {left}",
                hint="it is cut off, or its head is wrong: send all of it",
            )
        yield name, view[at + 8 : at + 8 + size]
        at += 8 + size + (size & 1)


def _only_chunks(rest: memoryview) -> bool:
    """Whether all of it is chunks of printable names: then the empty chunk before it is empty, and not as long as the file."""
    at = 0
    for _ in range(_MAX_CHUNKS):
        name, size = bytes(rest[at : at + 4]), int.from_bytes(rest[at + 4 : at + 8], "little")
        if at + 8 + size > len(rest) or not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        at += 8 + size + (size & 1)
        if at >= len(rest):
            return True
    return False


def _form(body: memoryview) -> _Form:
    if len(body) < 16:
        raise InvalidInput(f"the WAV file's head has {len(body)} bytes, 16 at least are needed", hint="send all of it")
    coding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if coding == _EXTENSIBLE and len(body) >= 40 and bytes(body[26:40]) == _GUID_TAIL:
        coding = int.from_bytes(body[24:26], "little")
    if (coding, bits) not in {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}:
        raise InvalidInput(
            f"a WAV file of coding {coding} with {bits} bits a sample is not taken", hint="send PCM of 8, 16, 24 or 32 bits, or float of 32"
        )
    if not 1 <= channels <= MAX_CHANNELS or rate not in RATES:
        raise InvalidInput(
            f"a WAV file of {channels} channels at {rate} samples a second is not taken",
            hint=f"1 to {MAX_CHANNELS} channels and {RATES.start} to {RATES.stop - 1} samples a second are",
        )
    return _Form(coding=coding, channels=channels, rate=rate, bits=bits)


def _samples(body: memoryview, form: _Form) -> Samples:
    frames = len(body) // form.frame_bytes
    if not frames:
        raise InvalidInput("the WAV file holds no samples", hint="send a sound that is longer than nothing")
    if frames > MAX_SECONDS * form.rate:
        raise TooLarge(f"a sound of {frames / form.rate:.0f} seconds", hint=f"at most {MAX_SECONDS:.0f} are taken: cut it first")
    values = _decoded(body[: frames * form.frame_bytes], form).reshape(frames, form.channels)
    mixed: Samples = values[:, 0] if form.channels == 1 else values.mean(axis=1, dtype=np.float32)
    if form.coding == _FLOAT and not np.isfinite(mixed).all():
        raise InvalidInput("the WAV file holds samples that are no numbers", hint="check the program that wrote it")
    return np.ascontiguousarray(mixed, dtype=np.float32)


def _decoded(raw: memoryview, form: _Form) -> Samples:
    """Samples as float32 between -1 and 1."""
    if form.coding == _FLOAT:
        return np.frombuffer(raw, dtype=f"<f{form.bits // 8}").astype(np.float32)
    if form.bits == 8:  # alone of all, these have no sign
        return (np.frombuffer(raw, dtype=np.uint8).astype(np.float32) - np.float32(128.0)) * np.float32(1 / 128)
    if form.bits == 24:
        wide = np.zeros((len(raw) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 3)
        whole = wide.view("<i4")[:, 0]
    else:
        whole = np.frombuffer(raw, dtype=f"<i{form.bits // 8}")
    return whole.astype(np.float32) * np.float32(2.0 ** -(8 * whole.itemsize - 1))

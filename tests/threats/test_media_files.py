"""Image and sound files that mean harm: bombs, cut-off files, heads that lie. Refused quickly, in little memory, as the sender's mistake."""

import io
import struct
import tracemalloc
import zlib
from time import perf_counter

import pytest
from PIL import Image

from aweigh.core.errors import InvalidInput, TooLarge
from aweigh.runtimes.images import decoded
from aweigh.runtimes.wav import read_wav

MIB = 1024 * 1024


def png(width: int, height: int, body: bytes, *extra: bytes, bits: int = 8) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    data = b"comment\0\0" + zlib.compress(bytes(200 * MIB), 9)
    return struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "file",
    [
        png(50_000, 50_000, zlib.compress(bytes(MIB))),
        png(9_000, 9_000, zlib.compress(bytes(82 * MIB), 9)),
        png(2**31 - 1, 2**31 - 1, b""),
        jpeg(65_000, 65_000),
        png(8, 8, zlib.compress(bytes(72)), text_bomb()),
        png(0, 8, b""),
        png(8, 8, b"no zlib at all"),
        png(6_000, 6_000, zlib.compress(bytes(10))),
    ],
    ids=["pixels", "zeros", "largest", "jpeg", "text", "empty", "broken", "cut"],
)
def test_image_bombs(file: bytes) -> None:
    tracemalloc.start()
    began = perf_counter()
    with pytest.raises((InvalidInput, TooLarge)):
        decoded(file, "RGB")
    took, (_, peak) = perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 5.0
    assert peak < 160 * MIB


def test_sixteen_bits_a_pixel_take_little_more_than_the_picture() -> None:
    file = png(6_000, 6_000, zlib.compress(bytes(6_000 * 12_001), 9), bits=16)
    assert len(file) < MIB // 8
    tracemalloc.start()
    began = perf_counter()
    assert decoded(file, "RGB").size == (6_000, 6_000)
    took, (_, peak) = perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 5.0
    assert peak < 160 * MIB


@pytest.mark.parametrize("suffix", ["GIF", "TIFF", "WEBP", "ICO", "EPS", "PDF"])
def test_no_other_parser_is_reached(suffix: str) -> None:
    heads = {"GIF": b"GIF89a", "TIFF": b"II*\0", "WEBP": b"RIFF\0\0\0\0WEBP", "ICO": b"\0\0\1\0", "EPS": b"%!PS-Adobe", "PDF": b"%PDF-1.4"}
    with pytest.raises(InvalidInput, match="PNG or JPEG"):
        decoded(heads[suffix] + bytes(100), "RGB")


def test_wav_heads_that_claim_much() -> None:
    for size in (2**31, 2**32 - 2, 2**32 - 1):
        file = (
            b"RIFF\xff\xff\xff\xffWAVEfmt "
            + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
            + b"data"
            + struct.pack("<I", size)
            + b"\0"
        )
        tracemalloc.start()
        try:
            assert len(read_wav(file).samples) == 1  # what programs write that send before they know how much
        except InvalidInput:
            assert size != 2**32 - 1
        assert tracemalloc.get_traced_memory()[1] < MIB
        tracemalloc.stop()

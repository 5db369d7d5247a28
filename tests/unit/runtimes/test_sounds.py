"""WAV files and the sound step: every coding against plain arithmetic, heads that lie, resampling of tones, bands against a plain sum."""

import struct
import wave
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from aweigh.core.errors import InvalidFile, InvalidInput, TooLarge
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.steps import Mel, SoundStep
from aweigh.core.tensors import Datatype
from aweigh.packing.media_sample import sound_file
from aweigh.runtimes import sounds, wav
from aweigh.runtimes.sounds import log_mel, normalised, reader, resampled
from aweigh.runtimes.wav import read_wav

TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(1600) / 16000)).astype(np.float32)
WHOLE = np.array([-32768, -1, 0, 1, 32767])


def file(
    raw: bytes, *, coding: int = 1, channels: int = 1, rate: int = 16000, bits: int = 16, before: bytes = b"", more: bytes = b""
) -> bytes:
    head = struct.pack("<HHIIHH", coding, channels, rate, 0, channels * bits // 8 % 65536, bits) + more
    body = before + b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(raw)) + raw
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def step(**said: Any) -> SoundStep:
    inner = Signature(inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, "time")),), outputs=())
    return SoundStep(**{"input": "sound", "rate": 16000, "model_signature": inner, **said})


def test_every_coding() -> None:
    deep = b"".join(int(value * 256).to_bytes(3, "little", signed=True) for value in WHOLE)
    for data in (
        file(WHOLE.astype("<i2").tobytes()),
        file(deep, bits=24),
        file((WHOLE * 65536).astype("<i4").tobytes(), bits=32),
        file((WHOLE / 32768).astype("<f4").tobytes(), coding=3, bits=32),
        file((WHOLE / 32768).astype("<f8").tobytes(), coding=3, bits=64),
    ):
        sound = read_wav(data)
        assert sound.rate == 16000
        assert sound.samples.dtype == np.float32
        assert np.array_equal(sound.samples, (WHOLE / 32768).astype(np.float32))
    assert np.array_equal(read_wav(file(bytes([0, 128, 255]), bits=8)).samples, np.array([-1, 0, 127 / 128], dtype=np.float32))


def test_what_the_standard_library_writes_is_read_alike() -> None:
    written = BytesIO()
    with wave.open(written, "wb") as to:
        to.setparams((2, 2, 44100, 0, "NONE", ""))
        to.writeframes(np.array([[100, 300], [-100, -300]], dtype="<i2").tobytes())
    sound = read_wav(written.getvalue())
    assert sound.rate == 44100
    np.testing.assert_allclose(sound.samples, np.array([200, -200]) / 32768)


def test_extensible_heads_other_chunks_and_unknown_lengths() -> None:
    raw = WHOLE.astype("<i2").tobytes()
    extensible = struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", 1) + wav._GUID_TAIL
    other = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    assert np.array_equal(read_wav(file(raw, coding=0xFFFE, more=extensible, before=other)).samples, (WHOLE / 32768).astype(np.float32))
    streamed = file(raw).replace(b"data" + struct.pack("<I", len(raw)), b"data\xff\xff\xff\xff")
    assert len(read_wav(streamed).samples) == 5


@pytest.mark.parametrize("raw", [WHOLE.astype("<i2").tobytes(), bytes(16), bytes(1600), b"LIST\x09\0\0\0" + bytes(8), b"LIST"])
@pytest.mark.parametrize("riff", [0, 36, 2**32 - 1])
def test_a_length_of_nothing_is_unknown_where_samples_follow(raw: bytes, riff: int) -> None:
    streamed = file(raw).replace(b"data" + struct.pack("<I", len(raw)), b"data\0\0\0\0")
    assert np.array_equal(read_wav(streamed[:4] + struct.pack("<I", riff) + streamed[8:]).samples, read_wav(file(raw)).samples)


@pytest.mark.parametrize("tail", [b"LIST\x04\0\0\0INFO", b"LIST\x05\0\0\0INFO!\0", b"LIST\x05\0\0\0INFO!", b"id3 \x02\0\0\0abcue \0\0\0\0"])
@pytest.mark.parametrize("riff", [0, 60])
def test_what_follows_an_empty_chunk_of_samples_is_no_sound(tail: bytes, riff: int) -> None:
    silent = file(b"") + tail
    with pytest.raises(InvalidInput, match="no samples"):
        read_wav(silent[:4] + struct.pack("<I", riff) + silent[8:])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a WAV"),
        (b"RIFF\0\0\0\0WAVE", "no samples"),
        (file(b"\0\0")[:-1], "claims 2 bytes"),
        (file(b""), "no samples"),
        (file(b"\0\0", channels=0), "0 channels"),
        (file(b"\0\0", channels=65535), "65535 channels"),
        (file(b"\0\0", rate=0), "0 samples a second"),
        (file(b"\0\0", rate=4_000_000_000 // 2), "samples a second"),
        (file(b"\0\0", bits=12), "12 bits"),
        (file(b"\0\0", coding=85), "coding 85"),
        (file(b"\0\0", coding=0xFFFE), "coding 65534"),
        (file(np.array([np.nan], dtype="<f4").tobytes(), coding=3, bits=32), "no numbers"),
        (b"RIFF\0\0\0\0WAVEfmt \2\0\0\0\0\0", "head has 2 bytes"),
        (b"RIFF\0\0\0\0WAVEdata\2\0\0\0\0\0", "before what they are"),
        (b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 2000, "no samples"),
    ],
)
def test_heads_that_lie_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_wav(data)


def test_sounds_that_are_too_long_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLarge, match="61 seconds"):
        reader(step(rate=1000))(sound_file(np.zeros(61_000), 1000))
    monkeypatch.setattr(wav, "MAX_SECONDS", 0.09)
    with pytest.raises(TooLarge):
        read_wav(sound_file(TONE, 16000))


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 16000), (8000, 16000), (16000, 8000), (48000, 16000), (22050, 24000), (11025, 11024)])
def test_a_tone_stays_the_tone_at_another_rate(rate: int, wanted: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate).astype(np.float32)
    found = resampled(tone, rate, wanted)
    assert len(found) == -(-len(tone) * wanted // rate)
    middle = slice(len(found) // 4, -len(found) // 4)
    np.testing.assert_allclose(found[middle], np.sin(2 * np.pi * 440 * np.arange(len(found)) / wanted)[middle], atol=2e-3)


def test_what_the_lower_rate_cannot_hold_is_taken_out() -> None:
    tone = np.sin(2 * np.pi * 7000 * np.arange(16000) / 16000).astype(np.float32)
    assert np.abs(resampled(tone, 16000, 8000)[1000:-1000]).max() < 0.02


def test_resampling_is_the_stated_sum() -> None:
    """Sample by sample, as the formula is written down."""
    samples, old, new = np.random.default_rng(1).normal(size=200).astype(np.float32), 441, 160
    cut = new * 0.99
    expected = []
    for at in range(-(-200 * new // old)):
        time = np.clip((np.arange(200) - at * old / new) * cut / old, -6, 6)
        expected.append(float((samples * np.sinc(time) * np.cos(time * np.pi / 12) ** 2).sum() * cut / old))
    np.testing.assert_allclose(resampled(samples, 44100, 16000), expected, atol=1e-5)


def test_only_what_is_kept_is_resampled_and_it_is_the_same() -> None:
    noise = np.random.default_rng(2).normal(0, 0.2, 44100)
    kept = reader(step(samples=4000))(sound_file(noise, 44100)).tensor
    assert np.array_equal(kept, resampled(noise.astype(np.float32), 44100, 16000)[:4000])


def test_bands_are_the_stated_sum() -> None:
    mel = Mel(bands=12, window=64, hop=32, lowest_hz=50, highest_hz=7000)
    found = log_mel(TONE[:500], 16000, mel)
    padded = np.pad(TONE[:500].astype(np.float64), 32, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64)
    ends = 2595 * np.log10(1 + np.array([50, 7000]) / 700)
    hertz = 700 * (10 ** (np.linspace(*ends, 14) / 2595) - 1)
    for window in range(found.shape[1]):
        power = np.abs(np.fft.rfft(padded[32 * window : 32 * window + 64] * hann)) ** 2
        for band in range(12):
            low, mid, high = hertz[band : band + 3]
            weights = [max(0.0, min((f - low) / (mid - low), (high - f) / (high - mid))) for f in np.arange(33) * 250.0]
            assert found[band, window] == pytest.approx(np.log(max(1e-10, float(power @ weights))), abs=1e-3)


def test_silence_short_sounds_and_layouts() -> None:
    assert not normalised(np.zeros(100, dtype=np.float32)).any()
    mel = Mel(bands=8, window=400, hop=160)
    silent = sound_file(np.zeros(1600), 16000)
    shapes = {"NMT": (8, 11), "NTM": (11, 8), "NCMT": (1, 8, 11), "NCTM": (1, 11, 8), "flat": (88,)}
    for layout, shape in shapes.items():
        found = reader(step(mel=mel, layout=layout))(silent).tensor
        assert found.shape == shape
        np.testing.assert_allclose(found, np.log(1e-10), rtol=1e-6)
    assert reader(step(layout="NCT", samples=2000))(silent).tensor.shape == (1, 2000)
    with pytest.raises(InvalidInput, match="too short"):
        reader(step(mel=mel, layout="NMT"))(sound_file(np.zeros(200), 16000))
    with pytest.raises(InvalidFile):
        reader(step(mel=mel, layout="NT"))
    with pytest.raises(InvalidFile):
        reader(step(rate=10))


def test_kernels_of_odd_rates_are_bounded() -> None:
    for rate in (383_999, 44_101):
        table, _ = sounds._kernel(rate, 48_000)
        assert table.nbytes < 32 * 1024 * 1024

"""The step "sound" around a session: WAV files to the tensor that the model was trained on. Found through `core/plugins.py`; numpy alone."""

import functools
from collections.abc import Callable
from math import gcd
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import InvalidFile, InvalidInput, TooLarge
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.steps import Mel, SoundStep
from aweigh.core.tensors import DTYPES, Tensor
from aweigh.runtimes.media import MediaSession, Read, taken
from aweigh.runtimes.wav import MAX_SECONDS, RATES, Samples, Sound, read_wav

MAX_OPEN_SECONDS: Final = 60.0
"""Of a sound that is not cut: the model's memory grows with it."""
_ZEROS: Final = 6
"""Crossings of zero of the sinc on each side."""
_ROLL_OFF: Final = 0.99
"""The part of the lower rate's half that is let through."""
_BLOCK: Final = 1 << 16
_MAX_WINDOW: Final = 65_536
_QUIET: Final = 1e-7
"""Added to the variance, so that silence stays silence."""


def around(session: Session, step: SoundStep, signature: Signature, _path: Callable[[str], Path]) -> Session:
    """The session as its clients see it. Raises InvalidFile for a step that cannot be."""
    return MediaSession(session, step, signature, reader(step), step.answer)


def reader(step: SoundStep) -> Callable[[bytes], Read]:
    """What reads one file as the step says. Raises InvalidFile."""
    mel = step.mel
    bands_fit = mel is None or (0 < mel.bands <= 512 and 16 <= mel.window <= _MAX_WINDOW and 0 < mel.hop <= mel.window and mel.floor > 0)
    layouts = {"NT", "NCT", "flat"} if mel is None else {"NMT", "NTM", "NCMT", "NCTM", "flat"}
    if step.rate not in RATES or not 0 <= step.samples <= MAX_SECONDS * step.rate or not bands_fit or step.layout not in layouts:
        raise InvalidFile(
            f"a sound step that cannot be: {step.samples} samples at {step.rate}, {mel}, {step.layout}",
            hint="mend these figures, and pack the model again",
        )
    dtype = DTYPES[taken(step.model_signature).datatype]
    return lambda data: Read(tensor=_laid_out(_features(data, step), step.layout).astype(dtype, copy=False))


def _features(data: bytes, step: SoundStep) -> NDArray[Any]:
    """Samples [time] or bands [bands, time]."""
    sound = read_wav(data)
    if not step.samples and len(sound.samples) > MAX_OPEN_SECONDS * sound.rate:
        raise TooLarge(
            f"a sound of {len(sound.samples) / sound.rate:.0f} seconds",
            hint=f"this model takes {MAX_OPEN_SECONDS:.0f} seconds at once at most",
        )
    samples = sized(resampled(_needed(sound, step), sound.rate, step.rate), step.samples)
    if step.normalise:
        samples = normalised(samples)
    return samples if step.mel is None else log_mel(samples, step.rate, step.mel)


def _needed(sound: Sound, step: SoundStep) -> Samples:
    """The samples that what is kept depends on: those cut off are not resampled."""
    if not step.samples:
        return sound.samples
    beyond = (_ZEROS + 2) * (1 + -(-sound.rate // step.rate))
    return sound.samples[: -(-step.samples * sound.rate // step.rate) + beyond]


def _laid_out(features: NDArray[Any], layout: str) -> Tensor:
    turned = features.T if layout in {"NTM", "NCTM"} else features
    if layout == "flat":
        return np.ascontiguousarray(turned.reshape(-1))
    return np.ascontiguousarray(turned[None] if "C" in layout else turned)


def sized(samples: Samples, count: int) -> Samples:
    """Cut, or filled up with silence at the end; 0 leaves it as it is."""
    if not count or len(samples) == count:
        return samples
    return samples[:count] if len(samples) > count else np.pad(samples, (0, count - len(samples)))


def normalised(samples: Samples) -> Samples:
    """Mean 0 and variance 1, in float32 throughout, as transformers' feature extractors do."""
    found: Samples = (samples - samples.mean()) / np.sqrt(samples.var() + np.float32(_QUIET))
    return found.astype(np.float32, copy=False)


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """At another rate: a sinc of `_ZEROS` crossings a side in Hann's window, cut off below half of the lower rate; the sum that torchaudio computes."""
    if rate == wanted:
        return samples
    common = gcd(rate, wanted)
    old, new = rate // common, wanted // common
    table, width = _kernel(old, new)
    count = -(-len(samples) * new // old)
    padded = np.pad(samples, (width, width + 1))
    found = np.empty(count, dtype=np.float32)
    for start in range(0, count, _BLOCK):
        at = np.arange(start, min(start + _BLOCK, count))
        window = (at * old // new)[:, None] + np.arange(table.shape[1])[None, :]
        found[start : start + len(at)] = np.einsum("ij,ij->i", padded[window], table[at % new])
    return found


@functools.lru_cache(maxsize=4)
def _kernel(old: int, new: int) -> tuple[NDArray[np.float32], int]:
    """Weights [new, taps] of the samples around each of the `new` places between samples, and how many samples lie before the place."""
    cut = min(old, new) * _ROLL_OFF
    width = int(np.ceil(_ZEROS * old / cut))
    offsets = np.arange(-width, width + 2, dtype=np.float64)
    places = (np.arange(new, dtype=np.int64) * old % new)[:, None] / new
    time = np.clip((offsets[None, :] - places) * cut / old, -_ZEROS, _ZEROS)
    window = np.cos(time * np.pi / _ZEROS / 2) ** 2
    return (np.sinc(time) * window * (cut / old)).astype(np.float32), width


def log_mel(samples: Samples, rate: int, mel: Mel) -> NDArray[np.float32]:
    """Logarithms of power [bands, windows]. Raises InvalidInput for a sound that is shorter than half a window."""
    half = mel.window // 2
    if len(samples) <= half:
        raise InvalidInput(f"a sound of {len(samples)} samples at {rate} is too short", hint=f"send {half + 1} samples at least")
    padded = np.pad(samples, half, mode="reflect")
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(mel.window) / mel.window)).astype(np.float32)
    bands = _bands(rate, mel.bands, mel.window, mel.lowest_hz, mel.highest_hz)
    windows = np.lib.stride_tricks.sliding_window_view(padded, mel.window)[:: mel.hop]
    found = np.empty((mel.bands, len(windows)), dtype=np.float32)
    block = max(1, _BLOCK * 16 // mel.window)
    for start in range(0, len(windows), block):
        power = np.abs(np.fft.rfft(windows[start : start + block] * hann, axis=1)) ** 2
        found[:, start : start + block] = np.log(np.maximum(bands @ power.T, mel.floor))
    return found


@functools.lru_cache(maxsize=16)
def _bands(rate: int, count: int, window: int, lowest_hz: float, highest_hz: float) -> NDArray[np.float64]:
    """Triangles [bands, frequencies], evenly spaced on the mel scale."""
    ends = _mel(np.array([lowest_hz, highest_hz or rate / 2]))
    centres = 700.0 * (10.0 ** (np.linspace(ends[0], ends[1], count + 2) / 2595.0) - 1.0)
    frequencies = np.fft.rfftfreq(window, 1.0 / rate)
    rising = (frequencies[None, :] - centres[:-2, None]) / np.diff(centres)[:-1, None]
    falling = (centres[2:, None] - frequencies[None, :]) / np.diff(centres)[1:, None]
    return np.maximum(0.0, np.minimum(rising, falling))


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(2595.0 * np.log10(1.0 + hertz / 700.0))

"""Files to prove a model of images or sounds on: those that a person gives (a folder, files, arrays), and such as are made up. Called by `media_package.py`."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import FileMissing, InvalidInput, TooLarge
from aweigh.core.steps import ImageStep, MediaStep, SoundStep
from aweigh.packing.sample import Sample, read_sample
from aweigh.runtimes.media import MAX_FILE_BYTES

SUFFIXES: Final = {"image": (".png", ".jpg", ".jpeg"), "sound": (".wav",)}
MAX_FILES: Final = 256
_SEED: Final = 29
_INPUT: Final = "files"


def given_files(source: object) -> Sample | None:
    """A list of paths or of the files' bytes as a sample that a child can be told; None for anything else."""
    if not isinstance(source, list | tuple) or not source or not all(isinstance(item, bytes | Path) for item in source):
        return None
    return _sample([_read(item) if isinstance(item, Path) else item for item in source[:MAX_FILES]], "files")


def read_files(source: object, step: MediaStep) -> Sample:
    """One file a row, under the name of the step's input. Raises FileMissing, InvalidInput, TooLarge."""
    if isinstance(source, str | Path):
        path, suffixes = Path(source), SUFFIXES[step.kind]
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
            if not found:
                raise InvalidInput(
                    f"{path}: there is no {step.kind} file in it ({', '.join(suffixes)})", hint="give a folder that has some"
                )
            return _sample([_read(file) for file in found[:MAX_FILES]], path.name, step.input)
        if path.suffix.lower() in suffixes:
            return _sample([_read(path)], path.name, step.input)
    sample = given_files(source) or read_sample(source)
    if sample.form == "tensors" and list(sample.data) == [_INPUT]:
        return _sample(sample.data[_INPUT].ravel().tolist(), sample.source, step.input)
    if sample.form != "matrix" or sample.data.dtype == object:
        raise InvalidInput(
            f"the sample ({sample.source}) holds no {step.kind}s",
            hint=f"give a folder of {step.kind} files, one such file, or an array with one {step.kind} a row",
        )
    rows = sample.data[:MAX_FILES]
    files = [image_file(row) for row in rows] if isinstance(step, ImageStep) else [sound_file(row, step.rate) for row in rows]
    return _sample(files, sample.source, step.input)


def made_files(step: MediaStep) -> Sample:
    """Files where none were given: noise, and what has a form."""
    files = [image_file(array) for array in _images(step)] if isinstance(step, ImageStep) else _sounds(step)
    return _sample(files, f"{step.kind}s made up: no sample was given", step.input)


def edge_files(step: MediaStep) -> list[tuple[str, str, list[bytes]]]:
    """Cases (name, why, files) beside the sample: black, white and odd-sized images; silence, short and loud sounds."""
    random = np.random.default_rng(_SEED)
    if isinstance(step, SoundStep):
        rate, count = step.rate, _length(step)
        loud = np.where(np.arange(count) % 20 < 10, 1.0, -1.0)
        short = random.normal(0.0, 0.1, max(count // 8, (step.mel.window if step.mel else 400)))
        edges = [sound_file(np.zeros(count), rate), sound_file(loud, rate)]
        return [
            ("silence", "silence, and as loud as can be", edges),
            (
                "lengths",
                "a short sound, and one of another rate",
                [sound_file(short, rate), sound_file(random.normal(0, 0.1, count), 2 * rate)],
            ),
        ]
    flat = [np.full((step.height, step.width, 3), value, dtype=np.uint8) for value in (0, 255)]
    odd = [random.integers(0, 256, size, dtype=np.uint8) for size in ((step.height + 1, 2 * step.width + 3, 3), (7, 5, 3), (16, 16))]
    return [
        ("black-white", "a black and a white image", [image_file(array) for array in flat]),
        ("sizes", "images of other sizes, of few pixels, and grey", [image_file(array) for array in odd]),
    ]


def image_file(pixels: NDArray[Any]) -> bytes:
    """As `images.image_file`, whose library is there where images are packed alone."""
    from aweigh.runtimes.images import image_file as write

    return write(pixels)


def sound_file(samples: NDArray[Any], rate: int) -> bytes:
    """Samples between -1 and 1 as a WAV file of float32."""
    array = np.asarray(samples)
    if array.ndim != 1:
        raise InvalidInput(f"an array of shape {list(array.shape)} is no sound", hint="give [rows, samples]")
    data = array.astype("<f4").tobytes()
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, rate, rate * 4, 4, 32)
    return b"RIFF" + struct.pack("<I", 4 + len(head) + 8 + len(data)) + b"WAVE" + head + b"data" + struct.pack("<I", len(data)) + data


def _images(step: ImageStep) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(_SEED)
    across = np.linspace(0, 255, step.width)[None, :, None] + np.zeros((step.height, 1, 3))
    noise = [random.integers(0, 256, (step.height, step.width, 3), dtype=np.uint8) for _ in range(10)]
    blocks = [np.kron(random.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((16, 16, 1), dtype=np.uint8)) for _ in range(4)]
    return [across.astype(np.uint8), (255 - across).astype(np.uint8), *noise, *blocks]


def _sounds(step: SoundStep) -> list[bytes]:
    random = np.random.default_rng(_SEED)
    time = np.arange(_length(step)) / step.rate
    tones = [0.5 * np.sin(2 * np.pi * hertz * time) for hertz in np.geomspace(100, step.rate / 4, 6)]
    noise = [random.normal(0.0, level, len(time)) for level in (0.01, 0.1, 0.3)]
    return [sound_file(np.clip(samples, -1, 1), step.rate) for samples in (*tones, *noise)]


def _length(step: SoundStep) -> int:
    """Samples of a sound that is made up: what the model takes, or a quarter of a second."""
    return step.samples or step.rate // 4


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileMissing(f"{path}: there is no such file", hint="check the path")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise TooLarge(f"{path}: {path.stat().st_size} bytes, {MAX_FILE_BYTES} are read at most", hint="give smaller files")
    return path.read_bytes()


def _sample(files: Sequence[bytes], source: str, name: str = _INPUT) -> Sample:
    rows = np.empty((len(files), 1), dtype=object)
    rows[:, 0] = list(files)
    return Sample(form="tensors", data={name: rows}, source=source)

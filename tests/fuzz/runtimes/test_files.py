"""Readers of strangers' files: whatever the bytes, a value or a refusal."""

import contextlib

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from aweigh.core.errors import AweighError
from aweigh.packing.media_sample import sound_file
from aweigh.runtimes.images import decoded, image_file
from aweigh.runtimes.media import file_of
from aweigh.runtimes.wav import read_wav
from aweigh.serve.dialects.predict_files import _parts

WAV = sound_file(np.linspace(-1, 1, 40), 8000)
PNG = image_file(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))


@given(
    st.binary(max_size=200)
    | st.tuples(st.integers(0, len(WAV)), st.binary(max_size=8)).map(
        lambda change: WAV[: change[0]] + change[1] + WAV[change[0] + len(change[1]) :]
    )
)
@example(b"RIFF")
def test_wav(data: bytes) -> None:
    with contextlib.suppress(AweighError):
        sound = read_wav(data)
        assert np.isfinite(sound.samples).all()
        assert len(sound.samples)


@given(st.tuples(st.integers(0, len(PNG)), st.binary(max_size=8)))
def test_png(change: tuple[int, bytes]) -> None:
    at, other = change
    with contextlib.suppress(AweighError):
        assert decoded(PNG[:at] + other + PNG[at + len(other) :], "RGB").mode == "RGB"


@given(st.none() | st.binary(max_size=40) | st.text(max_size=40))
def test_elements(item: object) -> None:
    with contextlib.suppress(AweighError):
        assert file_of(item, "sound")


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4), st.binary(max_size=60))
def test_forms(files: list[bytes], junk: bytes) -> None:
    boundary = b"b0undary-of-the-test"
    body = (
        b"".join(b"--" + boundary + b"\r\nContent-Disposition: form-data\r\n\r\n" + file + b"\r\n" for file in files)
        + b"--"
        + boundary
        + b"--\r\n"
    )
    assert _parts(body, boundary, 10) == files
    with contextlib.suppress(AweighError):
        _parts(junk + body[: len(junk)], boundary, 10)

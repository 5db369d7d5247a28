"""The image step: what becomes of a file, against Pillow's own words and plain arithmetic; what is refused."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aweigh.core.errors import InvalidFile, InvalidInput, TooLarge
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.steps import ImageStep
from aweigh.core.tensors import Datatype
from aweigh.runtimes import images
from aweigh.runtimes.images import image_file, reader
from aweigh.testing import FakeSession

RANDOM = np.random.default_rng(3)
PIXELS = TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 3, 8, 8))
PHOTO = RANDOM.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def step(*, datatype: Datatype = Datatype.FP32, **said: Any) -> ImageStep:
    inner = Signature(inputs=(TensorSpec(name="x", datatype=datatype, shape=(BATCH, 3, 8, 8)),), outputs=())
    return ImageStep(**{"input": "image", "height": 8, "width": 8, "model_signature": inner, **said})


def written(image: Image.Image, form: str = "PNG", **said: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **said)
    return file.getvalue()


def test_resize_scale_mean_and_std_are_what_they_say() -> None:
    said = step(height=16, width=24, scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), interpolation="bicubic")
    found = reader(said)(image_file(PHOTO)).tensor
    resized = np.asarray(Image.fromarray(PHOTO).resize((24, 16), Image.Resampling.BICUBIC))
    plain = (resized / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.2, 0.3, 0.4])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain.transpose(2, 0, 1), atol=1e-6)


def test_layouts_and_modes() -> None:
    file = image_file(PHOTO[:8, :8])
    assert np.array_equal(reader(step(layout="NHWC", datatype=Datatype.UINT8))(file).tensor, PHOTO[:8, :8])
    assert np.array_equal(reader(step(layout="NHWC", mode="BGR"))(file).tensor, PHOTO[:8, :8, ::-1])
    grey = np.asarray(Image.fromarray(PHOTO[:8, :8]).convert("L"))
    assert np.array_equal(reader(step(layout="NHW", mode="L"))(file).tensor, grey)
    assert np.array_equal(reader(step(mode="L"))(file).tensor, grey[None])
    assert np.array_equal(reader(step(layout="flat", mode="L"))(file).tensor, grey.reshape(-1))


def test_the_shorter_side_is_resized_and_the_middle_cut_out() -> None:
    read = reader(step(shortest=16))(image_file(PHOTO))
    resized = np.asarray(Image.fromarray(PHOTO).resize((24, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(read.tensor, resized[4:12, 8:16].transpose(2, 0, 1))
    assert read.placed is not None
    assert (read.placed.left, read.placed.top, read.placed.across, read.placed.down) == (20, 10, 2.5, 2.5)


def test_what_cameras_and_programs_write() -> None:
    eight = PHOTO[:8, :8]
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = written(Image.fromarray(eight), "PNG", exif=exif)
    assert np.array_equal(reader(step(layout="NHWC"))(turned).tensor, np.rot90(eight, -1))
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    assert np.array_equal(reader(step(layout="NHW", mode="L"))(written(Image.fromarray(deep))).tensor, deep >> 8)
    clear = Image.fromarray(np.dstack([eight, np.zeros((8, 8), dtype=np.uint8)]))
    assert np.array_equal(reader(step(layout="NHWC"))(written(clear)).tensor, eight)
    for mode in ("1", "P", "LA", "L"):
        assert reader(step())(written(Image.fromarray(eight).convert(mode))).tensor.shape == (3, 8, 8)
    assert reader(step())(written(Image.fromarray(eight).convert("CMYK"), "JPEG")).tensor.shape == (3, 8, 8)


@pytest.mark.parametrize("cut", [0, 7, 30, 60, 90, 99])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_cut_off_file_is_refused(form: str, cut: int) -> None:
    whole = written(Image.fromarray(PHOTO), form)
    with pytest.raises(InvalidInput):
        reader(step())(whole[: len(whole) * cut // 100])


def test_other_formats_are_refused() -> None:
    for form in ("GIF", "BMP", "TIFF", "PPM"):
        with pytest.raises(InvalidInput, match="PNG or JPEG"):
            reader(step())(written(Image.fromarray(PHOTO), form))


def test_more_pixels_than_are_decoded_are_refused_before_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 2399)
    with pytest.raises(TooLarge, match="60 x 40 pixels"):
        reader(step())(image_file(PHOTO))
    monkeypatch.setattr(images, "MAX_PIXELS", 2400)
    assert reader(step())(image_file(PHOTO)).tensor.shape == (3, 8, 8)


def test_the_images_of_one_request_are_bounded_together_before_one_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 2400)
    monkeypatch.setattr(images, "MAX_PIXELS_TOGETHER", 3 * 2400)
    inner = Signature(inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 3, 8, 8)),), outputs=(PIXELS,))
    outer = Signature(inputs=(TensorSpec(name="image", datatype=Datatype.BYTES, shape=(BATCH, 1)),), outputs=(PIXELS,))
    read = reader(step())
    decoded: list[bytes] = []
    monkeypatch.setattr(images, "reader", lambda _: lambda data: (decoded.append(data), read(data))[1])
    session = images.around(FakeSession(lambda feeds: [feeds["x"]]), step(model_signature=inner), outer, Path)
    for count, small in ((3, 0), (3, 0), (2, 30)):
        files = np.array([[image_file(PHOTO)]] * count + [[image_file(PHOTO[:8, :8])]] * small, dtype=object)
        assert session.run({"image": files})[0].shape == (count + small, 3, 8, 8)
    decoded.clear()
    with pytest.raises(TooLarge, match="4 images of more than 7200 pixels together"):
        session.run({"image": np.array([[image_file(PHOTO)]] * 4, dtype=object)})
    assert decoded == []
    with pytest.raises(InvalidInput, match="row 2"):
        session.run({"image": np.array([[image_file(PHOTO[:8, :8])]] * 2 + [[b"junk"]] * 2, dtype=object)})


def test_sixteen_bits_are_lowered_strip_by_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_STRIP_PIXELS", 25)
    deep = RANDOM.integers(0, 65536, (11, 7), dtype=np.uint16)
    for order in ("<u2", ">u2"):
        assert np.array_equal(np.asarray(images._lowered(Image.fromarray(deep.astype(order)))), deep >> 8)
    wide = np.array([[-5, 0, 255], [256, 65535, 65536]], dtype=np.int32)
    assert np.asarray(images._lowered(Image.fromarray(wide))).tolist() == [[0, 0, 0], [1, 255, 255]]
    tall = np.arange(64, dtype=np.uint16).reshape(16, 4) * 1000
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = images.decoded(written(Image.fromarray(tall), exif=exif), "L")
    assert np.array_equal(np.asarray(turned), np.rot90(tall, -1) >> 8)


def test_a_strip_that_would_become_too_long_is_refused() -> None:
    with pytest.raises(InvalidInput, match="strip"):
        reader(step(shortest=64))(image_file(np.zeros((1, 4000), dtype=np.uint8)))


@pytest.mark.parametrize(
    "said", [{"height": 0}, {"width": 9000}, {"shortest": 4}, {"mean": (0.5, 0.5)}, {"std": (0.0,)}, {"mode": "L", "mean": (0.1, 0.2, 0.3)}]
)
def test_a_step_that_cannot_be_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(InvalidFile):
        reader(step(**said))


def test_arrays_that_are_no_images() -> None:
    for array in (np.zeros((4, 4)), np.zeros(4, dtype=np.uint8), np.zeros((4, 4, 2), dtype=np.uint8)):
        with pytest.raises(InvalidInput):
            image_file(array)

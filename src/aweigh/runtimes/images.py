"""The step "image" around a session: PNG and JPEG files to the tensor that the model was trained on, by Pillow. Found through `core/plugins.py`.

Must never decode what is larger than stated here: a file of kilobytes may hold an image of gigabytes, which its head says before anything is decoded.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from aweigh.core.errors import AweighError, InvalidFile, InvalidInput, TooLarge
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.steps import ImageStep
from aweigh.core.tensors import DTYPES, Tensor
from aweigh.runtimes.media import MediaSession, Read, taken
from aweigh.runtimes.media_answers import Placed

FORMATS: Final = ("PNG", "JPEG")
MAX_PIXELS: Final = 50_000_000
"""Of one image as it is sent: 200 MB when decoded."""
MAX_PIXELS_TOGETHER: Final = 10 * MAX_PIXELS
"""Of all images of one request: they are decoded one after another, in seconds."""
MAX_SIDE: Final = 8192
"""Of what an image is resized to: a strip of one pixel's height would otherwise become as long as its proportion says."""
_FILTERS: Final = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_DEEP: Final = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
"""Pillow's modes of 16 bits a pixel."""
_STRIP_PIXELS: Final = 1 << 20
"""What is lowered to eight bits at a time."""


def around(session: Session, step: ImageStep, signature: Signature, _path: Callable[[str], Path]) -> Session:
    """The session as its clients see it. Raises InvalidFile for a step that cannot be."""
    return MediaSession(session, step, signature, reader(step), step.answer, check_together)


def reader(step: ImageStep) -> Callable[[bytes], Read]:
    """What reads one file as the step says. Raises InvalidFile."""
    channels = 1 if step.mode == "L" else 3
    sizes_fit = 0 < step.height <= MAX_SIDE and 0 < step.width <= MAX_SIDE and 0 <= step.shortest <= MAX_SIDE
    crops = not step.shortest or max(step.height, step.width) <= step.shortest
    figures = all(len(each) in {0, 1, channels} for each in (step.mean, step.std)) and 0.0 not in step.std
    if not sizes_fit or not crops or not figures:
        raise InvalidFile(
            f"an image step that cannot be: {step.height}x{step.width} of {step.shortest}, mean {step.mean}, std {step.std}",
            hint="mend these figures, and pack the model again",
        )
    dtype = DTYPES[taken(step.model_signature).datatype]
    return lambda data: _read(data, step, dtype)


def _read(data: bytes, step: ImageStep, dtype: np.dtype[Any]) -> Read:
    image = decoded(data, step.mode)
    picture, placed = _resized(image, step)
    return Read(tensor=_tensor(picture, step, dtype), placed=placed)


def decoded(data: bytes, mode: str) -> Image.Image:
    """The image, upright and in the mode. Raises InvalidInput for what is no image, or a broken one; TooLarge."""
    with _strangers():
        image = _opened(data)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode in _DEEP:
            image = _lowered(image)
        wanted = "L" if mode == "L" else "RGB"
        return image if image.mode == wanted else image.convert(wanted)


def check_together(files: Sequence[bytes]) -> None:
    """Raise TooLarge where the heads of one request's files say that they are more pixels than are decoded. Says nothing of files that are none."""
    if len(files) <= MAX_PIXELS_TOGETHER // MAX_PIXELS:
        return
    pixels = 0
    for file in files:
        with contextlib.suppress(InvalidInput), _strangers():
            image = _opened(file)
            pixels += image.width * image.height
        if pixels > MAX_PIXELS_TOGETHER:
            raise TooLarge(
                f"{len(files)} images of more than {MAX_PIXELS_TOGETHER} pixels together",
                hint="send fewer in one request, or make them smaller first",
            )


def _opened(data: bytes) -> Image.Image:
    """An image of which no more than the head was read. Raises TooLarge."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise TooLarge(
            f"an image of {image.width} x {image.height} pixels", hint=f"at most {MAX_PIXELS} are decoded: make it smaller first"
        )
    return image


@contextlib.contextmanager
def _strangers() -> Iterator[None]:
    """Whatever the library raises over strangers' bytes is the sender's mistake. Raises InvalidInput, TooLarge."""
    try:
        yield
    except AweighError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(f"an image of too many pixels: {error}", hint=f"at most {MAX_PIXELS} are decoded: make it smaller first") from error
    except Exception as error:  # strangers' bytes make the library raise anything
        raise InvalidInput(
            f"not a readable PNG or JPEG image: {type(error).__name__}: {str(error)[:200]}", hint="send the whole file, as PNG or JPEG"
        ) from error


def _lowered(image: Image.Image) -> Image.Image:
    """The upper eight of sixteen bits, strip by strip: Pillow would clip."""
    grey = np.empty((image.height, image.width), dtype=np.uint8)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        grey[top : top + rows] = (strip if strip.dtype.kind == "u" else np.clip(strip, 0, 65535)) >> 8
    return Image.fromarray(grey)


def _resized(image: Image.Image, step: ImageStep) -> tuple[Image.Image, Placed]:
    """The model's picture, and where it lies in the image."""
    wide, high = step.width, step.height
    if step.shortest:
        wide, high = _proportional(image.width, image.height, step.shortest)
    resized = image if image.size == (wide, high) else image.resize((wide, high), _FILTERS[step.interpolation])
    left, top = (wide - step.width) // 2, (high - step.height) // 2
    if (wide, high) != (step.width, step.height):
        resized = resized.crop((left, top, left + step.width, top + step.height))
    across, down = image.width / wide, image.height / high
    return resized, Placed(
        width=image.width, height=image.height, picture_width=step.width, picture_height=step.height,
        left=left * across, top=top * down, across=across, down=down,
    )  # fmt: skip


def _proportional(width: int, height: int, shortest: int) -> tuple[int, int]:
    """The size whose shorter side is `shortest`. Raises InvalidInput for a strip whose longer side would be too long."""
    longest = int(shortest * max(width, height) / min(width, height))
    if longest > MAX_SIDE:
        raise InvalidInput(f"an image of {width} x {height} pixels is too long a strip", hint="cut it first")
    return (shortest, longest) if width <= height else (longest, shortest)


def _tensor(picture: Image.Image, step: ImageStep, dtype: np.dtype[Any]) -> Tensor:
    pixels: NDArray[Any] = np.asarray(picture)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    pixels = pixels[:, :, ::-1] if step.mode == "BGR" else pixels
    if step.scale != 1.0 or step.mean or step.std or dtype.kind == "f":
        pixels = (pixels.astype(np.float64) * step.scale).astype(np.float32)
    if step.mean:
        pixels = pixels - np.array(step.mean, dtype=np.float32)
    if step.std:
        pixels = pixels / np.array(step.std, dtype=np.float32)
    if step.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    elif step.layout == "NHW":
        pixels = pixels[:, :, 0]
    elif step.layout == "flat":
        pixels = pixels.reshape(-1)
    return np.ascontiguousarray(pixels.astype(dtype, copy=False))


def image_file(pixels: NDArray[Any]) -> bytes:
    """An image [height, width] or [height, width, 3] of 0 to 255 as PNG. Raises InvalidInput for an array that is none."""
    array = np.asarray(pixels)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or not array.size or array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[-1] != 3):
        raise InvalidInput(
            f"an array of {array.dtype} of shape {list(array.shape)} is no image",
            hint="give uint8 of [rows, height, width] or [rows, height, width, 3]",
        )
    written = io.BytesIO()
    Image.fromarray(array).save(written, "PNG", compress_level=1)
    return written.getvalue()

"""The step "image" around a session: PNG and JPEG files to the tensor that the model was trained on, by Pillow. Found through `core/plugins.py`.

Must never decode what is larger than stated here: a file of kilobytes may hold an image of gigabytes, which its head says before anything is decoded.
"""

import io
from collections.abc import Callable
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
"""Of one image as it is sent: 150 MB when decoded."""
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


def around(session: Session, step: ImageStep, signature: Signature, _path: Callable[[str], Path]) -> Session:
    """The session as its clients see it. Raises InvalidFile for a step that cannot be."""
    return MediaSession(session, step, signature, reader(step), step.answer)


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
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise TooLarge(
                f"an image of {image.width} x {image.height} pixels", hint=f"at most {MAX_PIXELS} are decoded: make it smaller first"
            )
        image.load()
        return _in_mode(ImageOps.exif_transpose(image), mode)
    except AweighError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(f"an image of too many pixels: {error}", hint=f"at most {MAX_PIXELS} are decoded: make it smaller first") from error
    except Exception as error:  # strangers' bytes make the library raise anything
        raise InvalidInput(
            f"not a readable PNG or JPEG image: {type(error).__name__}: {str(error)[:200]}", hint="send the whole file, as PNG or JPEG"
        ) from error


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in _DEEP:  # Pillow would clip where the upper eight bits are meant
        image = Image.fromarray((np.clip(np.asarray(image).astype(np.int64), 0, 65535) >> 8).astype(np.uint8))
    return image.convert("L" if mode == "L" else "RGB")


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
    if array.dtype != np.uint8 or array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[-1] != 3):
        raise InvalidInput(
            f"an array of {array.dtype} of shape {list(array.shape)} is no image",
            hint="give uint8 of [rows, height, width] or [rows, height, width, 3]",
        )
    written = io.BytesIO()
    Image.fromarray(array).save(written, "PNG", compress_level=1)
    return written.getvalue()

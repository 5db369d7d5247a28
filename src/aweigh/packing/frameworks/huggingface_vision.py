"""Hugging Face folders of models that look at images: their image processor as a declared step, held against transformers' own. Called by `huggingface_files.py`."""

from typing import Any, Final

import numpy as np
import transformers

from aweigh.core.errors import InvalidFile, ProofFailed, Unsupported
from aweigh.core.steps import ImageStep
from aweigh.packing.frameworks.huggingface_folder import Folder
from aweigh.packing.media import UNKNOWN
from aweigh.packing.media_package import reader_of
from aweigh.runtimes.images import decoded

_FILTERS: Final = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers, which the settings hold."""
_HINT: Final = "export the model to ONNX and pack that with --image"
_CLOSE: Final = 1e-5


def processor_of(folder: Folder) -> Any:
    """The folder's image processor, on Pillow. Raises InvalidFile, Unsupported."""
    if folder.json("preprocessor_config.json") is None and folder.json("processor_config.json") is None:
        raise InvalidFile(
            f"{folder.path.name}: there is no preprocessor_config.json in it", hint="save the image processor into the folder"
        )
    try:
        return transformers.AutoImageProcessor.from_pretrained(
            str(folder.path), local_files_only=True, trust_remote_code=False, backend="pil"
        )
    except Exception as error:  # boundary: settings make the library raise anything
        raise InvalidFile(
            f"{folder.path.name}: its image processor cannot be read: {type(error).__name__}: {str(error)[:300]}", hint="save it again"
        ) from error


def step_of(processor: Any) -> ImageStep:
    """The same as a declared step. Raises Unsupported for what it does beside resizing, cropping and scaling."""
    size, crop = dict(processor.size or {}), dict(getattr(processor, "crop_size", None) or {})
    resizes, crops = bool(processor.do_resize), bool(getattr(processor, "do_center_crop", False))
    shortest = int(size.get("shortest_edge") or 0) if resizes else 0
    final = crop if crops else size
    whole = (resizes or crops) and bool(final.get("height") and final.get("width"))
    if (
        not whole
        or size.get("longest_edge")
        or (crops and not shortest and resizes and _sides(crop) != _sides(size))
        or (crops and not resizes)
    ):
        raise Unsupported(f"an image processor of size {size}, crop {crop if crops else None}: pictures would differ in size", hint=_HINT)
    if getattr(processor, "do_pad", False):
        raise Unsupported("an image processor that fills pictures up is not taken", hint=_HINT)
    scaled, normal = bool(processor.do_rescale), bool(processor.do_normalize)
    return ImageStep(
        input="image",
        shortest=shortest,
        height=int(final["height"]),
        width=int(final["width"]),
        interpolation=_FILTERS[int(processor.resample)],  # type: ignore[arg-type]  # one of those
        scale=float(processor.rescale_factor) if scaled else 1.0,
        mean=_figures(processor.image_mean) if normal else (),
        std=_figures(processor.image_std) if normal else (),
        model_signature=UNKNOWN,
    )


def check_step(step: ImageStep, processor: Any, files: list[bytes]) -> float:
    """The largest difference between the step and the processor on these files. Raises ProofFailed where they are not the same."""
    read, worst = reader_of(step), 0.0
    for at, file in enumerate(files):
        theirs = np.asarray(processor(decoded(file, "RGB"), return_tensors="np")["pixel_values"])[0]
        ours = read(file).tensor
        gap = float(np.abs(theirs - ours).max()) if theirs.shape == ours.shape else float("inf")
        if not gap <= _CLOSE:
            raise ProofFailed(
                f"the declared step reads image {at} otherwise than {type(processor).__name__}: {list(ours.shape)} and {list(theirs.shape)}, by {gap:.3g}",
                hint=_HINT,
            )
        worst = max(worst, gap)
    return worst


def _sides(size: dict[str, Any]) -> tuple[Any, Any]:
    return size.get("height"), size.get("width")


def _figures(figures: Any) -> tuple[float, ...]:
    return tuple(float(figure) for figure in figures) if isinstance(figures, list | tuple) else (float(figures),)

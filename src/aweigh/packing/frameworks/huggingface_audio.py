"""Hugging Face folders of models that hear samples: their feature extractor as a declared step, held against transformers' own. Called by `huggingface_files.py`."""

from typing import Any, Final

import numpy as np
import transformers

from aweigh.core.errors import InvalidFile, ProofFailed, Unsupported
from aweigh.core.steps import SoundStep
from aweigh.packing.frameworks.huggingface_folder import Folder
from aweigh.packing.media import UNKNOWN
from aweigh.packing.media_package import reader_of
from aweigh.runtimes.sounds import resampled
from aweigh.runtimes.wav import read_wav

_CLOSE: Final = 1e-5
_HINT: Final = "export the model to ONNX and pack that with --sound"


def extractor_of(folder: Folder) -> Any:
    """The folder's feature extractor. Raises InvalidFile; Unsupported for one that gives anything but samples."""
    if folder.json("preprocessor_config.json") is None:
        raise InvalidFile(
            f"{folder.path.name}: there is no preprocessor_config.json in it", hint="save the feature extractor into the folder"
        )
    try:
        found = transformers.AutoFeatureExtractor.from_pretrained(str(folder.path), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # boundary: settings make the library raise anything
        raise InvalidFile(
            f"{folder.path.name}: its feature extractor cannot be read: {type(error).__name__}: {str(error)[:300]}", hint="save it again"
        ) from error
    if not isinstance(found, transformers.Wav2Vec2FeatureExtractor) or found.feature_size != 1:
        raise Unsupported(f"{type(found).__name__} gives no plain samples", hint=_HINT)
    return found


def step_of(extractor: Any) -> SoundStep:
    """The same as a declared step. Sounds are never filled up: those of one length run together."""
    return SoundStep(
        input="sound", rate=int(extractor.sampling_rate), normalise=bool(extractor.do_normalize), layout="NT", model_signature=UNKNOWN
    )


def check_step(step: SoundStep, extractor: Any, files: list[bytes]) -> float:
    """The largest difference between the step and the extractor on these files. Raises ProofFailed where they are not the same."""
    read, worst = reader_of(step), 0.0
    for at, file in enumerate(files):
        sound = read_wav(file)
        samples = resampled(sound.samples, sound.rate, step.rate)
        theirs = np.asarray(extractor(samples, sampling_rate=step.rate, return_tensors="np")["input_values"])[0]
        ours = read(file).tensor
        gap = float(np.abs(theirs - ours).max()) if theirs.shape == ours.shape else float("inf")
        if not gap <= _CLOSE * max(1.0, float(np.abs(theirs).max())):
            raise ProofFailed(f"the declared step reads sound {at} otherwise than {type(extractor).__name__}, by {gap:.3g}", hint=_HINT)
        worst = max(worst, gap)
    return worst

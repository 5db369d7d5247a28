"""Hugging Face folders that are asked with files: image and audio encoders, alone or with a head that classifies. Called by `huggingface.py`.

The folder's own processor becomes the declared step, and is held against it; the model becomes ONNX by the ways of all networks.
"""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Axis, Signature, TensorSpec
from aweigh.core.steps import ImageStep, LabelAnswer, MediaStep
from aweigh.core.tensors import Datatype, Tensor
from aweigh.core.versions import installed, requirements
from aweigh.packing.frameworks import huggingface_audio, huggingface_vision
from aweigh.packing.frameworks.huggingface_folder import Folder
from aweigh.packing.frameworks.huggingface_heads import scored
from aweigh.packing.frameworks.network import Network, Way, pack_network
from aweigh.packing.job import Job, Packed
from aweigh.packing.media import Plan
from aweigh.packing.media_package import media_of, with_media
from aweigh.packing.media_sample import edge_files

HEADS: Final = ("ForImageClassification", "ForAudioClassification")
_INPUTS: Final = {"pixel_values": "image", "input_values": "sound"}
_ENTRY: Final = "variants/onnx/model.onnx"
_OPSET: Final = 17
_LOOKED_AT: Final = 8


def takes_files(model: Any) -> bool:
    """Whether a loaded model is asked with images or sounds."""
    return getattr(model, "main_input_name", "") in _INPUTS


def pack_files(job: Job, folder: Folder, model: Any, notes: tuple[str, ...]) -> Packed:
    """Pack such a model from files to answers. Raises what reading its processor, its sample and the proof raise."""
    if job.before is not None:
        raise InvalidInput(
            "--image, --sound and --pre are for models that do not say how files are read",
            hint="this folder's preprocessor_config.json does",
        )
    torch.manual_seed(0)
    sound = _INPUTS[model.main_input_name] == "sound"
    processor = huggingface_audio.extractor_of(folder) if sound else huggingface_vision.processor_of(folder)
    step: MediaStep = huggingface_audio.step_of(processor) if sound else huggingface_vision.step_of(processor)
    head = _head(model, folder)
    plan = Plan(step=step, answer=LabelAnswer() if head.becomes == "softmax" else None, labels=head.labels)
    media = media_of(plan, job.sample)
    files = [*media.files.data[step.input].ravel()[:_LOOKED_AT], *(file for _, _, edges in edge_files(step) for file in edges)]
    check = huggingface_audio.check_step if sound else huggingface_vision.check_step
    gap = check(step, processor, files)  # type: ignore[arg-type]  # the step is of the same kind
    said = f"the step reads {len(files)} {step.kind}s as {type(processor).__name__} does (differs by {gap:.2g} at most), black, white, silent and odd-sized ones among them"
    network = _network(folder, model, step, head, (*notes, said))
    packed = pack_network(dataclasses.replace(job, sample=media.files, labels=None, before=media.before), network)
    return with_media(packed, media, job.prove, job.progress)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What the model gives for one file, and what its scores become, as for `scored`; nothing for hidden states and numbers that are none of a class."""

    output: str
    shape: tuple[Axis, ...]
    becomes: str = ""
    labels: tuple[str, ...] = ()


def _head(model: Any, folder: Folder) -> _Head:
    """As transformers' own pipelines decide. Of one label they make 1 whatever the sound is: here it is a probability, as for images. Raises what `_labels` raises."""
    labels = _labels(model, folder)
    if not labels:
        return _Head(output="hidden", shape=("places", int(model.config.hidden_size)))
    if model.config.problem_type == "regression":
        return _Head(output="prediction", shape=(len(labels),))
    several = model.config.problem_type == "multi_label_classification"
    becomes = "sigmoid" if several or len(labels) == 1 else "softmax"
    return _Head(output="probabilities", shape=(len(labels),), becomes=becomes, labels=labels)


def _labels(model: Any, folder: Folder) -> tuple[str, ...]:
    """Names of the classes in their order; none for an encoder alone. Raises InvalidFile where the settings contradict themselves."""
    if not type(model).__name__.endswith(("ForSequenceClassification", *HEADS)):
        return ()
    names = {int(at): str(name) for at, name in model.config.id2label.items()}
    backwards = {str(name): int(at) for name, at in (model.config.label2id or {}).items()}
    if sorted(names) != list(range(len(names))) or any(backwards.get(name, at) != at for at, name in names.items()):
        raise InvalidFile(f"{folder.path.name}: config.json names its labels in two orders", hint="mend id2label and label2id")
    return tuple(names[at] for at in sorted(names))


class _Answering(torch.nn.Module):  # type: ignore[misc]  # untyped library
    """The model with probabilities for its scores, or what it gives as it is."""

    def __init__(self, model: Any, becomes: str) -> None:
        super().__init__()
        self.model = model
        self.becomes = becomes

    def forward(self, values: Any) -> Any:
        """[rows, classes] or [rows, places, size]."""
        found = self.model(values, return_dict=False)[0]
        return scored(found, self.becomes) if self.becomes else found


def _network(folder: Folder, model: Any, step: MediaStep, head: _Head, notes: tuple[str, ...]) -> Network:
    module = _Answering(model, head.becomes).eval()
    behind: tuple[int | str, ...] = (3, step.height, step.width) if isinstance(step, ImageStep) else ("samples",)
    taken = TensorSpec(name=model.main_input_name, datatype=Datatype.FP32, shape=(BATCH, *behind))
    role = "probability" if head.becomes == "sigmoid" else ""
    given = TensorSpec(name=head.output, datatype=Datatype.FP32, shape=(BATCH, *head.shape), role=role)
    signature = Signature(inputs=(taken,), outputs=(given,), labels=head.labels if role else ())

    def ask(rows: Mapping[str, Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return [module(torch.from_numpy(np.ascontiguousarray(rows[taken.name], dtype=np.float32))).numpy()]

    variant = Variant(name="onnx", runtime="onnxruntime", precision="fp32", environment=requirements(("onnxruntime", "numpy")))
    writers: list[tuple[str, Callable[[Any, Signature, Path], None]]] = [
        ("ONNX by tracing, plain attention", _trace), ("ONNX by torch.export", _export),
    ]  # fmt: skip
    return Network(
        framework="transformers",
        signature=signature,
        ask=ask,
        ways=[Way(name=name, write=_writer(write, module, signature), variant=variant) for name, write in writers],
        source_class=type(model).__name__,
        versions=installed(("transformers", "torch", "pillow", "onnxruntime", "numpy")),
        notes=notes,
        pickled=folder.pickled,
    )


def _writer(write: Callable[[Any, Signature, Path], None], module: Any, signature: Signature) -> Callable[[Path], Mapping[str, Path]]:
    def written(folder: Path) -> dict[str, Path]:
        file = folder / "model.onnx"
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            write(module, signature, file)
        return {_ENTRY: file}

    return written


def _example(signature: Signature) -> Any:
    shape = [size if isinstance(size, int) else 2 if size == BATCH else 16_000 for size in signature.inputs[0].shape]
    return torch.randn(*shape)


def _trace(module: Any, signature: Signature, file: Path) -> None:
    before = module.model.config._attn_implementation
    module.model.set_attn_implementation("eager")
    try:
        torch.onnx.export(
            module, (_example(signature),), str(file), dynamo=False, opset_version=_OPSET,
            input_names=[signature.inputs[0].name], output_names=[signature.outputs[0].name],
            dynamic_axes={spec.name: {at: axis for at, axis in enumerate(spec.shape) if isinstance(axis, str)} for spec in (*signature.inputs, *signature.outputs)},
        )  # fmt: skip
    finally:
        module.model.set_attn_implementation(before)


def _export(module: Any, signature: Signature, file: Path) -> None:
    sizes = {at: torch.export.Dim(axis) for at, axis in enumerate(signature.inputs[0].shape) if isinstance(axis, str)}
    program = torch.onnx.export(
        module, (_example(signature),), dynamo=True, dynamic_shapes=[sizes], external_data=False, verbose=False,
        input_names=[signature.inputs[0].name], output_names=[signature.outputs[0].name],
    )  # fmt: skip
    program.save(str(file))

"""Hugging Face folders: encoders with their tokenizer, exported by PyTorch, asked by transformers. Found through `core/plugins.py`.

Judged before anything reads it (`huggingface_folder.py`); no code of a folder is ever run, and nothing is fetched.
"""

import dataclasses
import inspect
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the libraries are imported
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
import transformers

from aweigh.core.errors import InvalidFile, InvalidInput, Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import Task
from aweigh.core.tensors import Tensor
from aweigh.core.versions import installed, requirements
from aweigh.packing.frameworks.huggingface_files import HEADS, pack_files, takes_files
from aweigh.packing.frameworks.huggingface_folder import Folder, judge
from aweigh.packing.frameworks.huggingface_sample import MADE_TEXTS, ODD_TEXTS, odd_rows, text_rows
from aweigh.packing.frameworks.huggingface_text import Encoder, encoder_of, write_tokenizer
from aweigh.packing.frameworks.huggingface_tokens import unknown_share
from aweigh.packing.frameworks.network import Network, Way, pack_network
from aweigh.packing.job import Job, Packed
from aweigh.packing.label_order import accuracy_in_order
from aweigh.packing.recognise import Recognised
from aweigh.packing.sample import read_labels

_ENTRY: Final = "variants/onnx/model.onnx"
_OPSET: Final = 17
_HEADS: Final = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", *HEADS)
_ENCODERS: Final = ("Model", "ForMaskedLM", "ForPreTraining")
_MANY_UNKNOWN: Final = 0.3
_LABELLED_ROWS: Final = 1000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceModel:
    """A judged folder and the model in it."""

    folder: Folder
    model: Any
    notes: tuple[str, ...]


class HuggingFaceFramework:
    """Packs folders."""

    name = "huggingface"

    def accepts(self, model: object) -> bool:
        return isinstance(model, HuggingFaceModel)

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> HuggingFaceModel:
        folder = judge(path, trust=trust)
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        torch.backends.mha.set_fastpath_enabled(False)  # what it does cannot be exported
        return _loaded(folder)

    def pack(self, job: Job) -> Packed:
        loaded: HuggingFaceModel = job.model
        if takes_files(loaded.model):
            return pack_files(job, loaded.folder, loaded.model, loaded.notes)
        rows = text_rows(job.sample) if job.sample is not None and job.before is None else None
        encoder = encoder_of(loaded.folder, loaded.model, pair=len(rows) == 2 if rows else None)
        if rows is not None:
            if len(rows) != len(encoder.step.texts):
                raise InvalidInput(
                    f"the sample has {len(rows)} columns of text, the model reads {len(encoder.step.texts)}",
                    hint=f"give {', '.join(encoder.step.texts)}",
                )
            job = dataclasses.replace(job, sample=dict(zip(encoder.step.texts, rows, strict=True)))
        metrics = _accuracy(job, encoder) if job.labels is not None and rows is not None else {}
        texts = [str(text) for text in rows[0].ravel()[:50]] if rows else MADE_TEXTS
        return dataclasses.replace(pack_network(job, _network(loaded, encoder, texts)), metrics=metrics)


def _accuracy(job: Job, encoder: Encoder) -> dict[str, float]:
    """Of a classifier on the person's labels. Raises ProofFailed where they are in another order than the model's."""
    given: dict[str, Tensor] = job.sample if isinstance(job.sample, dict) else {}
    rows = {name: tensor[:_LABELLED_ROWS] for name, tensor in given.items()}
    if encoder.signature.task is not Task.CLASSIFICATION or not rows:
        return {}
    job.progress("asking the source model about the labelled rows")
    labels = read_labels(job.labels, rows=len(next(iter(rows.values()))), given_rows=len(next(iter(given.values()))))
    return {"accuracy": accuracy_in_order([str(label) for label in encoder.signature.labels], labels, encoder.ask(rows)[0].tolist())}


def _loaded(folder: Folder) -> HuggingFaceModel:
    """The model, all of whose weights were in the folder. Raises Unsupported for a class that is not taken, InvalidFile."""
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder.path), local_files_only=True, trust_remote_code=False)
        kind = _class_of(folder, config)
        model, told = kind.from_pretrained(
            str(folder.path), config=config, local_files_only=True, trust_remote_code=False, use_safetensors=not folder.pickled,
            weights_only=True, dtype=torch.float32, output_loading_info=True, **_without_pooler(kind),
        )  # fmt: skip
    except (Unsupported, InvalidFile):
        raise
    except Exception as error:  # boundary: a folder's settings and weights make the library raise anything
        raise InvalidFile(
            f"{folder.path.name}: transformers cannot load it: {type(error).__name__}: {str(error)[:300]}",
            hint="save it again with save_pretrained",
        ) from error
    missing = sorted(map(str, (*told["missing_keys"], *told["mismatched_keys"])))
    if missing:
        raise InvalidFile(
            f"{folder.path.name}: {len(missing)} weights of {kind.__name__} are missing ({', '.join(missing[:3])}): they would be random",
            hint="the folder holds another model than its config.json says: save it after training",
        )
    stored = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32
    notes = () if stored is torch.float32 else (f"weights of {str(stored).removeprefix('torch.')}: written and asked in float32",)
    return HuggingFaceModel(folder=folder, model=model.eval(), notes=notes)


def _class_of(folder: Folder, config: Any) -> Any:
    name = folder.architecture
    kind = getattr(transformers, name, None) if name.endswith(_HEADS) else _base_of(name, config)
    generator = kind is None and name.endswith(_ENCODERS) and hasattr(transformers, name)
    if getattr(config, "is_encoder_decoder", False) or not name.endswith((*_HEADS, *_ENCODERS)) or generator:
        raise Unsupported(
            f"{name} is no encoder that aweigh takes",
            hint="encoders for embedding, classification of texts, pairs, tokens, images and sounds, and question answering are",
        )
    if (
        not isinstance(kind, type)
        or not issubclass(kind, transformers.PreTrainedModel)
        or getattr(kind, "config_class", None) is not type(config)
    ):
        raise Unsupported(
            f"transformers {transformers.__version__} has no {name} for its model_type {config.model_type!r}",
            hint="aweigh runs no code of a folder",
        )
    return kind


def _base_of(name: str, config: Any) -> Any:
    """The model without a head, where the folder holds that or one that was trained by leaving out words; a head that writes texts is no such thing."""
    found = transformers.MODEL_MAPPING.get(type(config), None)
    bases = found if isinstance(found, tuple) else (found,)
    return next((base for base in bases if base is not None and (name == base.__name__ or not name.endswith("Model"))), None)


def _without_pooler(kind: Any) -> dict[str, bool]:
    """An embedding is made of the tokens: the pooler, which many folders lack, is left out."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}


def _network(loaded: HuggingFaceModel, encoder: Encoder, texts: list[str]) -> Network:
    share = unknown_share(encoder.reading.tokenizer, texts)
    unknown = (f"the tokenizer does not know {share:.0%} of the sample's tokens: is it this model's?",) if share > _MANY_UNKNOWN else ()
    variant = Variant(
        name="onnx",
        runtime="onnxruntime",
        precision="fp32",
        step=encoder.step,
        environment=requirements(("onnxruntime", "tokenizers", "numpy")),
    )
    ways = [
        Way(name="ONNX by tracing, plain attention", write=lambda folder: _written(encoder, folder, _trace), variant=variant),
        Way(name="ONNX by torch.export", write=lambda folder: _written(encoder, folder, _export), variant=variant),
    ]
    return Network(
        framework="transformers",
        signature=encoder.signature,
        ask=encoder.ask,
        ways=ways,
        source_class=type(loaded.model).__name__,
        versions=installed(("transformers", "tokenizers", "torch", "onnxruntime", "numpy")),
        notes=(*loaded.notes, *encoder.notes, *unknown),
        made=lambda: _made(encoder),
        edges=(("odd-texts", "empty, long and odd texts: what tokenizers differ about", odd_rows(encoder.step.texts)),),
        pickled=loaded.folder.pickled,
    )


def _made(encoder: Encoder) -> Mapping[str, Tensor]:
    """Texts, or each beside the next one, as far as the tokenizer takes them: a question that fills the model leaves no room for a context."""
    step = encoder.step
    beside = [MADE_TEXTS, [*MADE_TEXTS[1:], MADE_TEXTS[0]]][: len(step.texts)]
    rows = [row for row in zip(*beside, strict=True) if encoder.reading.tokens(row, step.truncation)]
    return {name: np.array(column, dtype=object).reshape(-1, 1) for name, column in zip(step.texts, zip(*rows, strict=True), strict=True)}


def _written(encoder: Encoder, folder: Path, write: Callable[[Encoder, tuple[Any, ...], Path], None]) -> dict[str, Path]:
    reading = encoder.reading
    many = [reading.prepared(text) for text in MADE_TEXTS[:3]]
    texts = (many, many[::-1]) if len(encoder.step.texts) == 2 else (many,)
    tokens = reading.tokenizer(*texts, padding=True, truncation="longest_first", max_length=reading.max_tokens, return_tensors="pt")
    file = folder / "model.onnx"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        write(encoder, tuple(tokens[name] for name in encoder.inputs), file)
    return {_ENTRY: file, **write_tokenizer(encoder, folder, [*MADE_TEXTS, *ODD_TEXTS])}


def _trace(encoder: Encoder, tokens: tuple[Any, ...], file: Path) -> None:
    """The older exporter; its graphs are those that ONNX Runtime's fusion of attention knows."""
    specs = (*encoder.step.model_signature.inputs, *encoder.step.model_signature.outputs)
    before = encoder.module.model.config._attn_implementation
    encoder.module.model.set_attn_implementation("eager")
    try:
        torch.onnx.export(
            encoder.module, tokens, str(file), dynamo=False, opset_version=_OPSET,
            input_names=list(encoder.inputs), output_names=[spec.name for spec in encoder.step.model_signature.outputs],
            dynamic_axes={spec.name: {at: axis for at, axis in enumerate(spec.shape) if isinstance(axis, str)} for spec in specs},
        )  # fmt: skip
    finally:
        encoder.module.model.set_attn_implementation(before)


def _export(encoder: Encoder, tokens: tuple[Any, ...], file: Path) -> None:
    batch, length = torch.export.Dim("batch"), torch.export.Dim("tokens")
    program = torch.onnx.export(
        encoder.module, tokens, dynamo=True, dynamic_shapes=[{0: batch, 1: length}] * len(tokens), external_data=False, verbose=False,
        input_names=list(encoder.inputs), output_names=[spec.name for spec in encoder.step.model_signature.outputs],
    )  # fmt: skip
    program.save(str(file))

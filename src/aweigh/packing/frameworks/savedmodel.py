"""TensorFlow SavedModel: one signature becomes a proven ONNX variant, else the folder itself is the variant, run by TensorFlow. Found through `core/plugins.py`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import tensorflow as tf

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Axis, Signature, TensorSpec
from aweigh.core.tensors import Tensor
from aweigh.core.versions import installed
from aweigh.packing.frameworks.keras import LIBRARIES, savedmodel_files, tensorflow_variant
from aweigh.packing.frameworks.network import Network, Way, pack_network
from aweigh.packing.frameworks.tensorflow_onnx import ENTRY, onnx_ways
from aweigh.packing.job import Job, Packed
from aweigh.packing.recognise import Recognised
from aweigh.runtimes.savedmodel_graph import GRAPH, judge_savedmodel
from aweigh.runtimes.tensorflow import DEFAULT, ask_signature, load_folder, signature_of
from aweigh.runtimes.tensorflow_onnx import from_function
from aweigh.runtimes.tensorflow_tensors import datatype_of_tensorflow

_INTERNAL = "__saved_model_init_op"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """A judged folder, and the signature that is packed."""

    folder: Path
    name: str
    function: Any
    others: tuple[str, ...]
    trusted: tuple[str, ...]
    """Operations that a person trusted."""


class SavedModelFramework:
    """Packs SavedModel folders."""

    name = "savedmodel"

    def accepts(self, model: object) -> bool:
        return isinstance(model, SavedModel)

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> SavedModel:
        """Load the signature that is served: the default one, else the only one. Raises InvalidFile, Unsupported."""
        loaded = load_folder(path)
        names = sorted(name for name in loaded.signatures if name != _INTERNAL)
        if not names:
            raise InvalidFile(f"{path.name}: no signature to serve", hint=f"export it with signatures={{'{DEFAULT}': FUNCTION}}")
        name = DEFAULT if DEFAULT in names else names[0]
        if name != DEFAULT and len(names) > 1:
            raise Unsupported(
                f"{path.name}: it has the signatures {', '.join(names)}, and none is '{DEFAULT}'",
                hint=f"export it with signatures={{'{DEFAULT}': FUNCTION}}",
            )
        function = signature_of(loaded, name)
        others = tuple(each for each in names if each != name)
        return SavedModel(folder=path, name=name, function=function, others=others, trusted=tuple(judge_savedmodel(path / GRAPH)))

    def network(self, job: Job) -> Network:
        """What the signature takes and gives, and the ways to write it down."""
        return _network(job.model)

    def pack(self, job: Job) -> Packed:
        return pack_network(job, self.network(job))


def _network(model: SavedModel) -> Network:
    signature = _signature(model.function)

    def ask(rows: Mapping[str, Tensor]) -> list[Tensor]:
        return ask_signature(model.function, signature, rows)

    def flat(*tensors: Any) -> list[Any]:
        answers = model.function(**{spec.name: tensor for spec, tensor in zip(signature.inputs, tensors, strict=True)})
        return [answers[spec.name] for spec in signature.outputs]

    def to_onnx(folder: Path) -> dict[str, Path]:
        given = model.function.structured_input_signature[1]
        specs = [tf.TensorSpec(given[spec.name].shape, given[spec.name].dtype, name=spec.name) for spec in signature.inputs]
        file = folder / "model.onnx"
        from_function(tf.function(flat, autograph=False), specs, signature, file)
        return {ENTRY: file}

    return Network(
        framework="tensorflow",
        signature=signature,
        ask=ask,
        ways=(
            *onnx_ways(to_onnx),
            Way(
                name="the SavedModel run by TensorFlow",
                write=lambda _: savedmodel_files(model.folder),
                variant=_own(model),
                also="tensorflow",
            ),
        ),
        source_class=f"SavedModel signature '{model.name}'",
        versions=installed(LIBRARIES),
        notes=tuple(f"the signature '{name}' is not served: '{model.name}' is" for name in model.others),
        contains_pickle=bool(model.trusted),
    )


def _own(model: SavedModel) -> Variant:
    variant = tensorflow_variant(model.name)
    if not model.trusted:
        return variant
    return msgspec.structs.replace(variant, options={**variant.options, "trusted_operations": " ".join(model.trusted)})


def _signature(function: Any) -> Signature:
    given = function.structured_input_signature[1]
    if not given:
        raise Unsupported("the signature takes no input", hint="a model without inputs always answers the same: there is nothing to serve")
    batched = all(spec.shape.rank and spec.shape[0] is None for spec in given.values())
    inputs = tuple(_spec(name, spec, batched=batched, single=len(given) == 1) for name, spec in sorted(given.items()))
    taken = set(given)
    outs = sorted(function.structured_outputs.items())
    if any(name in taken for name, _ in outs):
        clash = next(name for name, _ in outs if name in taken)
        raise Unsupported(f"an input and an output are both named '{clash}'", hint="export it with another name for one of them")
    return Signature(inputs=inputs, outputs=tuple(_spec(name, spec, batched=batched, single=False) for name, spec in outs))


def _spec(name: str, spec: Any, *, batched: bool, single: bool) -> TensorSpec:
    if not isinstance(spec, tf.TensorSpec):
        raise Unsupported(
            f"'{name}' is a {type(spec).__name__}, not a dense tensor", hint="export the model with dense tensors at its edges"
        )
    axes: list[Axis] = []
    if spec.shape.rank is not None:
        axes = [(f"axis{at}" if single else f"{name}_axis{at}") if size is None else int(size) for at, size in enumerate(spec.shape)]
    if batched and axes:
        axes[0] = BATCH
    return TensorSpec(name=name, datatype=datatype_of_tensorflow(spec.dtype, name), shape=tuple(axes))

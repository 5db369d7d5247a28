"""Reading, asking and writing OpenVINO models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

import aweigh.optimization.irs.silence  # noqa: F401  # before openvino

import openvino  # isort: skip

from aweigh.core.errors import Unsupported
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Tensor, datatype_of
from aweigh.core.versions import requirements
from aweigh.optimization.passing import Choice, Made, PassJob
from aweigh.runtimes.adapt import Adapter, input_adapter
from aweigh.runtimes.files import laid_out

NAME: Final = "model.xml"
WEIGHTS: Final = "model.bin"
RUNTIME: Final = "openvino"
_MAX_TEXT: Final = 400


def read_model(job: PassJob) -> Any:
    """The job's ONNX file or IR, weights in memory. Raises Unsupported, with what OpenVINO says, for what it does not read."""
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # the files' places are gone as soon as it is read
    with laid_out(job.variant.files, lambda name: Path(job.files[name]), named=True) as entry:
        try:
            return core.read_model(str(entry))
        except (RuntimeError, ValueError, TypeError) as error:
            raise Unsupported(f"the graph has no way through OpenVINO: {' '.join(str(error).split())[-_MAX_TEXT:]}") from error


def made(model: Any, job: PassJob, precision: str, *, options: dict[str, Choice] | None = None, notes: Sequence[str] = ()) -> Made:
    """Write the model as IR into the job's folder. Weights stay as they are: the library would round floats to 16 bits."""
    entry = Path(job.folder) / NAME
    openvino.save_model(model, str(entry), compress_to_fp16=False)
    weights = entry.with_name(WEIGHTS)
    return Made(
        runtime=RUNTIME,
        precision=precision,
        files={NAME: str(entry), WEIGHTS: str(weights)},
        options=kept_options(job) if options is None else options,
        environment=environment(),
        notes=tuple(notes),
    )


def kept_options(job: PassJob) -> dict[str, Choice]:
    """The variant's own, where they are OpenVINO's."""
    return dict(job.variant.options) if job.variant.runtime == RUNTIME else {}


def environment() -> tuple[str, ...]:
    """Exact requirements of what was made."""
    return requirements((RUNTIME, "numpy"))


def compiled(model: Any, threads: int) -> Any:
    """Ready to be asked, in float32 whatever the processor would rather use."""
    said = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": max(1, threads), "NUM_STREAMS": 1}
    return openvino.Core().compile_model(model, "CPU", said)


def ask(compiled_model: Any, signature: Signature, feed: dict[str, Tensor]) -> list[Tensor]:
    """Answers in the signature's order."""
    gives = {name: port for port in compiled_model.outputs for name in port.get_names()}
    answers = compiled_model(feed)
    return [np.array(answers[gives[spec.name]]) for spec in signature.outputs]


class Feeder:
    """Rows of the signature's datatypes as the model itself takes them."""

    def __init__(self, model: Any, signature: Signature) -> None:
        ports = {name: port for port in model.inputs for name in port.get_names()}
        absent = [spec.name for spec in signature.inputs if spec.name not in ports]
        if absent:
            raise Unsupported(f"OpenVINO's model has no input '{absent[0]}'")
        self._adapters = {spec.name: _adapter(spec, ports[spec.name]) for spec in signature.inputs}

    def feed(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The inputs, cast where they have to be."""
        return {name: adapt(inputs[name]) if adapt else np.ascontiguousarray(inputs[name]) for name, adapt in self._adapters.items()}


def _adapter(spec: TensorSpec, port: Any) -> Adapter | None:
    return input_adapter(spec, datatype_of(np.empty(0, port.get_element_type().to_dtype())), None)

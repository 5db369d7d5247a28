"""What is asked of a model, checked against its signature: inputs, outputs and parameters. The same words at both doors of Open Inference.

Where Triton has a text for a mistake, the text is Triton's: its clients' programs know it.
"""

import time
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from aweigh.core.errors import AweighError, DeadlineExceeded, InvalidInput, TooLarge, Unsupported
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, count_of, from_raw
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.regions import Regions
from aweigh.serve.message import Request
from aweigh.serve.shared_memory import Memory, check_room, memory_of
from aweigh.serve.tensor_json import check_json_form

_EXTENSIONS: Final = (
    "classification", "model_repository", "model_repository(unload_dependents)", "model_configuration", "system_shared_memory",
    "binary_tensor_data", "parameters", "statistics", "logging",
)  # fmt: skip
_DATATYPES: Final = frozenset(datatype.value for datatype in Datatype)
_RESERVED: Final = {
    "priority": "unsigned-integer", "timeout": "unsigned-integer", "sequence_id": "string", "sequence_start": "boolean",
    "sequence_end": "boolean", "binary_data_output": "boolean",
}  # fmt: skip
"""Parameters that have a kind of their own."""
_MAX_TIMEOUT_US: Final = 10**12
_BATCH_NOTE: Final = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each input shape. "
    "If you want to specify the full shape including the batch dim in your input dims config, try setting max_batch_size to zero. "
    "See the model configuration docs for more info on max_batch_size."
)


class Wanted(NamedTuple):
    """An output that is asked for: where it stands in the signature, whether in binary, as how many classes (0: as it is), and to where."""

    at: int
    binary: bool = False
    classes: int = 0
    memory: Memory | None = None


def extensions(dataplane: DataPlane) -> list[str]:
    """What both doors of Open Inference announce, in Triton's order: what works here, as it is set up."""
    absent = {"" if dataplane.regions.allowed else "system_shared_memory", "" if dataplane.logs is not None else "logging"}
    return [name for name in _EXTENSIONS if name not in absent]


def input_spec(signature: Signature, name: str, datatype: str, taken: Container[str], place: str) -> TensorSpec:
    """The input of that name. Raises InvalidInput for a name that is unknown or already taken, and for another datatype than its own."""
    spec = signature.input(name)
    if datatype != spec.datatype.value:
        known = "" if datatype in _DATATYPES else " (no such datatype)"
        raise InvalidInput(
            f"input '{name}': expected datatype {spec.datatype.value}, got {datatype[:40]!r}{known}",
            hint="the model's metadata lists datatypes",
        )
    if name in taken:
        raise InvalidInput(f"{place}: input '{name}' is given twice")
    return spec


def output_positions(signature: Signature, names: Sequence[str]) -> tuple[int, ...]:
    """Where the outputs of those names stand in the signature. Raises InvalidInput for one that is unknown, or asked for twice."""
    by_name = {spec.name: at for at, spec in enumerate(signature.outputs)}
    for at, name in enumerate(names):
        if name not in by_name:
            raise InvalidInput(f"unexpected output '{name}'", hint=f"this model gives {', '.join(by_name)}")
        if name in names[:at]:
            raise InvalidInput(f"output '{name}' is asked for twice")
    return tuple([by_name[name] for name in names])


def wanted_outputs(
    signature: Signature, asked: Sequence[tuple[str, Mapping[str, object] | None]], parameters: Mapping[str, object] | None
) -> tuple[Wanted, ...]:
    """The outputs that names and parameters ask for; all of them where none is named. Raises InvalidInput."""
    binary = bool(parameters and parameters.get("binary_data_output"))
    if not asked:
        return tuple([Wanted(at, binary) for at in range(len(signature.outputs))])
    positions = output_positions(signature, [name for name, _ in asked])
    return tuple([_wanted(signature, at, given or {}, binary) for at, (_, given) in zip(positions, asked, strict=True)])


def _wanted(signature: Signature, at: int, parameters: Mapping[str, object], binary: bool) -> Wanted:
    name, memory = signature.outputs[at].name, memory_of(parameters)
    if memory is not None:
        for other in ("classification", "binary_data"):
            if parameters.get(other):
                raise InvalidInput(f"Output can't set both 'shared_memory_region' and '{other}'")
        return Wanted(at, memory=memory)
    binary_data = parameters.get("binary_data", binary)
    if not isinstance(binary_data, bool):
        raise InvalidInput("Unable to parse 'binary_data': attempt to access JSON non-boolean as boolean")
    classes = parameters.get("classification", 0)
    if not _is_unsigned(classes):
        raise InvalidInput(
            "Unable to parse 'classification': attempt to access JSON non-unsigned-integer as unsigned-integer",
            hint="send the number of classes to name",
        )
    if classes and signature.outputs[at].datatype is Datatype.BYTES:
        raise InvalidInput(f"classification of output '{name}': its values are texts, which have no order", hint="ask for it as it is")
    return Wanted(at, binary_data, int(classes))  # type: ignore[call-overload]  # checked just above


def check_forms(wanted: Sequence[Wanted], signature: Signature) -> None:
    """Raise InvalidInput for an output that is wanted in JSON and has no form there, before the model is run for it."""
    for output in wanted:
        if not (output.binary or output.classes or output.memory):
            check_json_form(signature.outputs[output.at])


def check_memory(wanted: Sequence[Wanted], signature: Signature, rows: int, regions: Regions) -> None:
    """Raise NotFound, InvalidInput for an output that is wanted where it cannot be put, as far as that is known before the model is run."""
    for output in wanted:
        if output.memory is not None:
            regions.place(*output.memory)
            spec = signature.outputs[output.at]
            shape = [rows if at == 0 and signature.batched else axis for at, axis in enumerate(spec.shape)]
            sizes = [axis for axis in shape if isinstance(axis, int)]
            if spec.datatype.item_bytes is not None and len(sizes) == len(shape):
                check_room(output.memory, spec.name, count_of(sizes) * spec.datatype.item_bytes)


def take_parameters(parameters: Mapping[str, object] | None, request: Request, began: float) -> None:
    """Check a request's parameters: `priority` is its place in the queue, `timeout` its deadline in microseconds from when it `began`.

    Raises InvalidInput; DeadlineExceeded where the time is up already. Further names pass: no model here reads any.
    """
    if not parameters:
        return
    for name, value in parameters.items():
        _check_parameter(name, value)
    priority, timeout = parameters.get("priority"), parameters.get("timeout")
    if isinstance(priority, int):
        request.priority = priority
    if isinstance(timeout, int) and timeout:
        left_s = min(timeout, _MAX_TIMEOUT_US) / 1e6 - (time.perf_counter() - began)
        if left_s <= 0:
            raise DeadlineExceeded(f"the request's timeout of {timeout} us passed before it was started", hint="allow more time")
        deadline = time.monotonic() + left_s
        request.deadline = deadline if request.deadline is None else min(request.deadline, deadline)


def _check_parameter(name: str, value: object) -> None:
    kind = _RESERVED.get(name)
    if kind is not None and not _fits(kind, value):
        raise InvalidInput(f"Unable to parse '{name}': attempt to access JSON non-{kind} as {kind}")
    if name == "headers":
        raise InvalidInput("parameter 'headers' is reserved", hint="give the parameter another name")
    if name.startswith("triton_") and name != "triton_enable_empty_final_response":
        raise InvalidInput("parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified.")
    if not isinstance(value, bool | int | float | str):
        raise InvalidInput(f"parameter '{name[:80]}' has invalid type. It should be either 'int', 'bool', or 'string'.")


def _fits(kind: str, value: object) -> bool:
    """Whether a reserved parameter has a value of its kind; texts may be numbers, as ids of sequences are."""
    if kind == "boolean":
        return isinstance(value, bool)
    return _is_unsigned(value) or (kind == "string" and isinstance(value, str))


def no_tracing() -> AweighError:
    """What is said of trace settings. Triton says it where it is built without tracing."""
    return Unsupported("the server does not support tracing", hint="/metrics tells where the time goes")


def no_dynamic_logging() -> AweighError:
    """What is said of log settings where the process is not aweigh's own."""
    return Unsupported("the server does not support dynamic logging", hint="set up logging in the process that serves")


def parameters_of(given: Any) -> dict[str, object] | None:
    """The parameters of a gRPC message as values."""
    return {name: getattr(value, value.WhichOneof("parameter_choice") or "", None) for name, value in given.items()} if given else None


def _is_unsigned(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def raw_tensor(raw: bytes | memoryview, spec: TensorSpec, shape: tuple[int, ...], model: str) -> Tensor:
    """A tensor over raw bytes, without copying where it has numbers. Raises InvalidInput for another size than the shape's."""
    if spec.datatype.item_bytes is not None:
        expected = count_of(shape) * spec.datatype.item_bytes
        if len(raw) != expected:
            raise InvalidInput(
                f"input byte size mismatch for input '{spec.name}' for model '{model}'. Expected {expected}, got {len(raw)}",
                hint=f"shape {list(shape[:8])} of {spec.datatype.value} needs {expected} bytes",
            )
    return from_raw(raw, spec.datatype, shape, name=spec.name)


def refuse(error: AweighError, model: str, identity: str) -> NoReturn:
    """Raise what the data plane refused, in Triton's words where Triton has words for it."""
    prefix = f"[request id: {identity or '<id_unknown>'}] "
    found = error.context
    if isinstance(error, InvalidInput) and "expected_shape" in found:
        if found["note"]:
            text = f"{prefix}input '{found['input']}' batch size does not match other inputs for '{model}'"
            raise InvalidInput(text, hint=error.message) from None
        shapes = f"Expected {_joined(found['expected_shape'])}, got {_joined(found['shape'])}."
        text = f"{prefix}unexpected shape for input '{found['input']}' for model '{model}'. {shapes} {_BATCH_NOTE}"
        raise InvalidInput(text, hint=error.hint) from None
    if isinstance(error, TooLarge) and "max_rows" in found:
        raise InvalidInput(f"{prefix}inference request batch-size must be <= {found['max_rows']} for '{model}'", hint=error.hint) from None
    if isinstance(error, InvalidInput) and "inputs_expected" in found:
        text = f"{prefix}expected {found['inputs_expected']} inputs but got {found['inputs_given']} inputs for model '{model}'."
        raise InvalidInput(f"{text} Got input(s) [{found['given']}], but missing required input(s) [{found['missing']}]. "
                           "Please provide all required input(s).", hint=error.hint) from None  # fmt: skip
    if isinstance(error, InvalidInput) and "unexpected_input" in found:
        raise InvalidInput(
            f"{prefix}unexpected inference input '{found['unexpected_input']}' for model '{model}'", hint=error.hint
        ) from None
    raise error


def _joined(shape: object) -> str:
    return "[" + ",".join(map(str, shape)) + "]" if isinstance(shape, list) else str(shape)

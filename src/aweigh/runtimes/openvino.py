"""OpenVINO: runs an ONNX file, or an IR of its own (.xml with its .bin), on the processor. Nothing is lowered in precision unless a variant says so.

Options of a variant: `inference_precision` (f32, bf16, f16), `threads` (instead of `session_threads`), `device` (CPU; others are not proven), `nan_rows` and `infinite_rows` = "nan": rows that
hold a NaN, or an infinity, are answered with NaN, as the source answered them, where the library's own operators (Relu is one) make a number of it. Any other is refused.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import openvino

from aweigh.core.errors import AweighError, FileMissing, InternalError, InvalidFile, InvalidInput, Unsupported
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Datatype, Tensor, Tensors, datatype_of
from aweigh.runtimes.adapt import chosen, input_adapter, output_adapter
from aweigh.runtimes.files import laid_out

_PRECISIONS: Final = ("f32", "bf16", "f16")
_PRECISION: Final = "INFERENCE_PRECISION_HINT"
_ROWS: Final = ("nan_rows", "infinite_rows")
"""Rows that hold a NaN, or an infinity, and are answered with NaN as the source answers them, where some operators here make numbers of them."""
_LOST: Final[dict[tuple[bool, ...], Callable[[Any], Any]]] = {
    (True, False): np.isnan,
    (False, True): np.isinf,
    (True, True): lambda tensor: ~np.isfinite(tensor),
}
_MAX_TEXT: Final = 500
_NO_WAY: Final = "has no way through OpenVINO"


class OpenVinoRuntime:
    """Loads `variant.files[0]`."""

    name = "openvino"

    def __init__(self, *, session_threads: int = 1) -> None:
        self._threads = session_threads

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Load and hold against the signature. Raises InvalidFile, FileMissing, Unsupported (an operator, an option or a device that is not there)."""
        if not variant.files:
            raise InvalidFile(f"variant '{variant.name}' lists no file to load")
        core = openvino.Core()
        device, properties = _properties(variant, self._threads, core.available_devices)
        with laid_out(variant.files, path, named=True) as entry:
            if not entry.is_file():
                raise FileMissing(f"{entry} does not exist")
            try:
                model = core.read_model(str(entry))
                compiled = core.compile_model(model, device, properties)
            except (RuntimeError, ValueError, TypeError) as error:
                raise _load_error(variant, error) from error
        _check_precision(variant, compiled, device, properties[_PRECISION])
        return _OpenVinoSession(compiled, variant, signature)


class _OpenVinoSession:
    """One request of the library's own, which one caller at a time may use."""

    concurrent = False
    isolated = False

    def __init__(self, compiled: Any, variant: Variant, signature: Signature) -> None:
        takes, gives = _by_name(compiled.inputs), _by_name(compiled.outputs)
        _check_names(variant, signature, takes, gives, len(compiled.inputs))
        self._request: Any = compiled.create_infer_request()
        self._before = {
            spec.name: adapter
            for spec in signature.inputs
            if (adapter := input_adapter(spec, _datatype(takes[spec.name], f"input '{spec.name}'"), variant.missing_text))
        }
        odd = tuple(name in variant.options for name in _ROWS)
        self._lost = _LOST.get(odd, np.isnan)
        self._floats = [spec.name for spec in signature.inputs if spec.datatype.is_float and any(odd)]
        self._float_answers = [at for at, spec in enumerate(signature.outputs) if spec.datatype.is_float]
        self._outputs = [gives[spec.name] for spec in signature.outputs]
        self._after = chosen([
            output_adapter(spec, _datatype(port, f"output '{spec.name}'"), _rank(port))
            for spec, port in zip(signature.outputs, self._outputs, strict=True)
        ])  # fmt: skip

    def run(self, inputs: Tensors) -> list[Tensor]:
        if self._request is None:
            raise InternalError("the session is closed")
        feeds = {
            name: np.ascontiguousarray(self._before[name](tensor) if name in self._before else tensor) for name, tensor in inputs.items()
        }
        try:
            answers = self._request.infer(feeds, share_inputs=True, share_outputs=False)
            outputs: list[Tensor] = [answers[port] for port in self._outputs]
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            _raise_run_error(error)
        for at, adapt in self._after:
            outputs[at] = adapt(outputs[at])
        for name in self._floats:
            self._answer_nan(inputs[name], outputs)
        return outputs

    def _answer_nan(self, tensor: Tensor, outputs: list[Tensor]) -> None:
        lost = self._lost(tensor)
        if lost.any():
            rows = lost.reshape(len(tensor), -1).any(axis=1)
            for at in self._float_answers:
                outputs[at][rows] = np.nan

    def close(self) -> None:
        self._request = None


def _properties(variant: Variant, threads: int, devices: list[str]) -> tuple[str, dict[str, Any]]:
    precision, device = "f32", "CPU"
    for name, value in variant.options.items():
        if name == "inference_precision" and value in _PRECISIONS:
            precision = str(value)
        elif name == "threads" and isinstance(value, int) and value > 0:
            threads = value
        elif name == "device" and isinstance(value, str):
            device = value
        elif name not in _ROWS or value != "nan":
            raise Unsupported(
                f"variant '{variant.name}' has an option that the openvino runtime does not know: {name} = {value!r}",
                hint="upgrade aweigh, or pack the model again",
            )
    if device.partition(".")[0] not in {found.partition(".")[0] for found in devices}:
        raise Unsupported(
            f"variant '{variant.name}' is for the device {device}, which OpenVINO does not find here",
            hint=f"it finds: {', '.join(devices)}; a GPU or NPU needs its vendor's driver",
        )
    properties: dict[str, Any] = {_PRECISION: precision}  # said always: else a processor that has bf16 answers in it
    if device == "CPU":
        # not pinned: each process of a server would take the same first core
        properties |= {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    return device, properties


def precision_of(compiled: Any) -> str:
    """In what a compiled model computes, as the library itself says."""
    said = compiled.get_property(_PRECISION)
    return str(getattr(said, "get_type_name", lambda: said)())


def _check_precision(variant: Variant, compiled: Any, device: str, asked: str) -> None:
    """Raise Unsupported where the library took the hint and computes in something else: it does, without a word, on a processor that has no instructions for it."""
    used = precision_of(compiled)
    if used != asked:
        raise Unsupported(
            f"variant '{variant.name}' is to compute in {asked}, and OpenVINO computes in {used} on this {device}",
            hint=f"serve another variant, or the variant on a processor that has {asked}",
        )


def _by_name(ports: list[Any]) -> dict[str, Any]:
    return {name: port for port in ports for name in port.get_names()}


def _check_names(variant: Variant, signature: Signature, takes: dict[str, Any], gives: dict[str, Any], inputs: int) -> None:
    for what, wanted, known in (("input", signature.inputs, takes), ("output", signature.outputs, gives)):
        absent = [spec.name for spec in wanted if spec.name not in known]
        if absent:
            raise InvalidFile(f"variant '{variant.name}': the model has no {what} '{absent[0]}'", hint=f"it has: {', '.join(known)}")
    if inputs != len(signature.inputs):
        extra = sorted(set(takes) - {spec.name for spec in signature.inputs})
        raise InvalidFile(f"variant '{variant.name}': the model needs input '{extra[0]}', which the signature does not have")


def _datatype(port: Any, what: str) -> Datatype:
    kind = port.get_element_type()
    name = kind.get_type_name()
    try:
        if name != "string":
            return datatype_of(np.empty(0, kind.to_dtype()))
    except (RuntimeError, TypeError, AweighError):
        pass
    raise Unsupported(f"{what} of the model is {name}, which {_NO_WAY}", hint="serve it with onnxruntime")


def _rank(port: Any) -> int | None:
    shape = port.get_partial_shape()
    return int(shape.rank.get_length()) if shape.rank.is_static else None


def _load_error(variant: Variant, error: Exception) -> AweighError:
    text = " ".join(str(error).split())[-_MAX_TEXT:]
    if "not supported" in text or "No conversion" in text or "does not support" in text:
        return Unsupported(
            f"variant '{variant.name}' {_NO_WAY}: {text}", hint="serve it with onnxruntime, or export it with standard operators"
        )
    return InvalidFile(
        f"variant '{variant.name}' cannot be loaded by OpenVINO: {text}", hint="the file is damaged, or no model that it reads"
    )


def _raise_run_error(error: Exception) -> NoReturn:
    text = " ".join(str(error).split())[:_MAX_TEXT]
    if isinstance(error, ValueError | TypeError) or "shape" in text:
        raise InvalidInput(f"the model refused these inputs: {text}") from error
    raise InternalError(f"the model failed on these inputs: {text}") from error

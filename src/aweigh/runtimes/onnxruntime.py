"""ONNX Runtime: executes ONNX files, and files of its own format (`.ort`), on the CPU. Its session is on the request path: a model that needs no adapting costs one bare call.

Options of a variant: `graph_optimization_level` (all, extended, basic, disabled), `intra_op_threads` (instead of `session_threads`), `arena` (whether memory is
kept between calls), `config:KEY` for a session configuration entry of ONNX Runtime, `providers` and `provider:KEY` for another execution provider than the processor's, and `lowercase:INPUT` for a text input to be lowered before the call. Any other is refused. External data files are listed in `files`.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as native

from aweigh.core.errors import AweighError, FileMissing, InternalError, InvalidFile, InvalidInput, Unsupported
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.runtimes.adapt import Adapter, chosen, input_adapter, output_adapter
from aweigh.runtimes.files import laid_out
from aweigh.runtimes.onnxruntime_providers import asked_providers, check_taken, named

_DATATYPES: Final = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
}
_LEVELS: Final = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_ERRORS: Final = (
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NoModel,
    native.NoSuchFile,
    native.NotFound,
    native.NotImplemented,
    native.RuntimeException,
    native.EngineError,
    native.EPFail,
    RuntimeError,
    ValueError,
    TypeError,
)
_UNKNOWN_OPERATOR: Final = re.compile(
    r"(?:Fatal error: |Could not find an implementation for |No [Oo]p(?:erator)? registered for )(?P<name>[\w.:]+(?:\(-?\d+\))?)"
)
_MAX_TEXT: Final = 500
_LOWERCASE: Final = "lowercase:"
_OWN_FORMAT: Final = ".ort"
_SMALL_MODEL_BYTES: Final = 1024 * 1024


class OnnxRuntime:
    """Loads `variant.files[0]`, an ONNX file."""

    name = "onnxruntime"

    def __init__(self, *, session_threads: int = 1) -> None:
        self._threads = session_threads

    @staticmethod
    def providers() -> dict[str, tuple[bool, str]]:
        """Every execution provider by its name: whether the library that is installed has it, and what to install where it has not."""
        return named(ort.get_available_providers())

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Load and hold against the signature. Raises InvalidFile, Unsupported (naming an unknown operator), FileMissing."""
        return adapted(open_native(variant, path, session_threads=self._threads), variant, signature)


def open_native(
    variant: Variant, path: Callable[[str], Path], *, session_threads: int, prepare: Callable[[ort.SessionOptions], None] | None = None
) -> ort.InferenceSession:
    """The library's own session of `variant.files[0]`; `prepare` may change its options. Raises as `load` does."""
    if not variant.files:
        raise InvalidFile(f"variant '{variant.name}' lists no file to load")
    asked = asked_providers(variant, ort.get_available_providers())
    with laid_out(variant.files, path) as entry:
        if not entry.is_file():
            raise FileMissing(f"{entry} does not exist")
        options = session_options(variant, session_threads, entry.stat().st_size)
        if prepare is not None:
            prepare(options)
        try:
            session = ort.InferenceSession(
                str(entry), sess_options=options, providers=[name for name, _ in asked], provider_options=[said for _, said in asked]
            )
        except _ERRORS as error:
            raise _load_error(variant, error) from error
    check_taken(variant, asked, session.get_providers())
    return session


class _PlainSession:
    """Nothing to adapt: one call."""

    concurrent = True
    isolated = False
    __slots__ = ("_names", "_options", "_run", "_session")

    def __init__(self, session: ort.InferenceSession, names: list[str]) -> None:
        self._session: ort.InferenceSession | None = session
        # InferenceSession.run checks names again and makes run options for each call: a third of a small model's time
        self._run = getattr(session, "_sess", session).run
        self._names = names
        self._options = ort.RunOptions()

    def run(self, inputs: Tensors) -> list[Tensor]:
        try:
            return self._run(self._names, inputs, self._options)  # type: ignore[no-any-return]  # untyped library
        except _ERRORS as error:
            _raise_run_error(error)

    def bind(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Callable[[], None]:
        """A call that reads and writes the caller's memory: nothing is converted or allocated. For one caller at a time."""
        session = self._session
        if session is None:
            _closed()
        binding = session.io_binding()
        try:
            for name, tensor in inputs.items():
                binding.bind_input(name, "cpu", 0, tensor.dtype.type, tensor.shape, tensor.ctypes.data)
            for name, tensor in outputs.items():
                binding.bind_output(name, "cpu", 0, tensor.dtype.type, tensor.shape, tensor.ctypes.data)
        except _ERRORS as error:
            _raise_run_error(error)
        return _Bound(session, binding, self._options, (inputs, outputs)).run

    def close(self) -> None:
        self._run, self._session = _closed, None  # its memory is the system's again when nothing is bound to it either


class _Bound:
    """A session and the memory it reads and writes, which lives as long as this."""

    __slots__ = ("_arguments", "_kept", "_run")

    def __init__(self, session: ort.InferenceSession, binding: Any, options: ort.RunOptions, kept: object) -> None:
        self._run = getattr(session, "_sess", session).run_with_iobinding
        self._arguments = (binding._iobinding, options)  # the library's own object, without its Python shell
        self._kept = (session, binding, kept)

    def run(self) -> None:
        try:
            self._run(*self._arguments)
        except _ERRORS as error:
            _raise_run_error(error)


class _AdaptedSession(_PlainSession):
    """Inputs or outputs to adapt around the call."""

    __slots__ = ("_before", "_after")  # noqa: RUF023  # in the order of use
    bind = None  # type: ignore[assignment]  # what is adapted is not the caller's memory any more

    def __init__(self, session: ort.InferenceSession, names: list[str], before: Mapping[str, Any], after: list[tuple[int, Any]]) -> None:
        super().__init__(session, names)
        self._before = before
        self._after = after

    def run(self, inputs: Tensors) -> list[Tensor]:
        feeds = dict(inputs)
        for name, adapt in self._before.items():
            feeds[name] = adapt(feeds[name])
        outputs = super().run(feeds)
        for at, adapt in self._after:
            outputs[at] = adapt(outputs[at])
        return outputs


def _closed(*_: object) -> NoReturn:
    raise InternalError("the session is closed")


def session_options(variant: Variant, threads: int, size_bytes: int) -> ort.SessionOptions:
    """What the variant asks of ONNX Runtime. Raises Unsupported for an option that is none."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    if size_bytes < _SMALL_MODEL_BYTES:  # measured: without arena and pattern a small model's call is a tenth quicker
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    if variant.files[0].endswith(_OWN_FORMAT):  # the library goes by the file's name, which is another in the store
        options.add_session_config_entry("session.load_model_format", "ORT")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a spinning thread would take a core from the event loop
    for name, value in variant.options.items():
        if name == "graph_optimization_level" and value in _LEVELS:
            options.graph_optimization_level = _LEVELS[str(value)]
        elif name == "intra_op_threads" and isinstance(value, int) and value > 0:
            options.intra_op_num_threads = value
        elif name == "arena" and isinstance(value, bool):
            options.enable_cpu_mem_arena = options.enable_mem_pattern = value
        elif name.startswith("config:"):
            options.add_session_config_entry(name.removeprefix("config:"), str(value))
        elif name != "providers" and not name.startswith((_LOWERCASE, "provider:")):
            raise Unsupported(
                f"variant '{variant.name}' has an option that the onnxruntime runtime does not know: {name} = {value!r}",
                hint="upgrade aweigh, or pack the model again",
            )
    return options


def adapted(session: ort.InferenceSession, variant: Variant, signature: Signature) -> Session:
    """The session as aweigh asks it, held against the signature. Raises InvalidFile, Unsupported."""
    takes = {node.name: node.type for node in session.get_inputs()}
    gives = {node.name: node for node in session.get_outputs()}
    for what, wanted, known in (("input", signature.inputs, takes), ("output", signature.outputs, gives)):
        absent = [spec.name for spec in wanted if spec.name not in known]
        if absent:
            raise InvalidFile(f"variant '{variant.name}': the model has no {what} '{absent[0]}'", hint=f"it has: {', '.join(known)}")
    extra = [name for name in takes if name not in {spec.name for spec in signature.inputs}]
    if extra:
        raise InvalidFile(f"variant '{variant.name}': the model needs input '{extra[0]}', which the signature does not have")
    before = {spec.name: adapter for spec in signature.inputs if (adapter := model_input_adapter(spec, takes[spec.name], variant))}
    after = chosen([
        output_adapter(spec, model_datatype(gives[spec.name].type, f"output '{spec.name}'"), _rank(gives[spec.name].shape))
        for spec in signature.outputs
    ])  # fmt: skip
    names = [spec.name for spec in signature.outputs]
    return _AdaptedSession(session, names, before, after) if before or after else _PlainSession(session, names)


def model_input_adapter(spec: TensorSpec, kind: str, variant: Variant) -> Adapter | None:
    """How an input of the signature becomes one of ONNX Runtime's type `kind`."""
    lowercase = bool(variant.options.get(f"{_LOWERCASE}{spec.name}", False))
    return input_adapter(spec, model_datatype(kind, f"input '{spec.name}'"), variant.missing_text, lowercase=lowercase)


def _rank(shape: list[object] | None) -> int | None:
    return len(shape) if shape else None  # an unknown shape and a scalar's look the same


def model_datatype(name: str, what: str) -> Datatype:
    """The datatype of ONNX Runtime's type `name`. Raises Unsupported, saying `what` it is of."""
    found = _DATATYPES.get(name)
    if found is None:
        raise Unsupported(
            f"{what} of the model is {name}, which has no way through ONNX Runtime's Python interface",
            hint="export the model with float32 or float16 inputs and outputs; pack with zipmap off",
        )
    return found


def _load_error(variant: Variant, error: Exception) -> AweighError:
    text = str(error)[:_MAX_TEXT]
    operator = _UNKNOWN_OPERATOR.search(text)
    if operator and ("not a registered" in text or "NotImplemented" in type(error).__name__ or "No Op registered" in text):
        return Unsupported(
            f"variant '{variant.name}' uses the operator {operator['name']}, which this ONNX Runtime {ort.__version__} does not have",
            hint="export the model with standard operators, or for an older opset",
            operator=operator["name"],
        )
    if isinstance(error, native.NoSuchFile):
        return FileMissing(f"variant '{variant.name}': {text}")
    return InvalidFile(
        f"variant '{variant.name}' cannot be loaded by ONNX Runtime: {text}", hint="the file is damaged or not an ONNX model"
    )


def _raise_run_error(error: Exception) -> NoReturn:
    if isinstance(error, AweighError):
        raise error
    text = str(error)[:_MAX_TEXT]
    if isinstance(error, native.InvalidArgument | TypeError | ValueError):
        raise InvalidInput(f"the model refused these inputs: {text}") from error
    raise InternalError(f"the model failed on these inputs: {text}") from error

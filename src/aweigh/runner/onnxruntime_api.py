"""ONNX Runtime through its C API: its shared library out of the PyPI wheel, by ctypes. Where functions stand in its table was fixed with each version of it.

The header is include/onnxruntime/core/session/onnxruntime_c_api.h. A table that was published never changes, so that GetApi(17) of every later library
holds these places; `Library` refuses a library that has no such table.
"""

from __future__ import annotations

import ctypes
from array import array
from posix import putenv

from .errors import Refusal, broken, unsupported
from .tensors import CODES, SIZES, Tensor, count_of, text_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

API_VERSION = 17
"""The table that is asked for: of ONNX Runtime 1.17, and of all that came after it."""
PLACES = {
    "GetErrorCode": 1, "GetErrorMessage": 2, "CreateEnv": 3, "CreateSession": 7, "Run": 9, "CreateSessionOptions": 10, "DisableMemPattern": 17,
    "DisableCpuMemArena": 19, "SetSessionLogSeverityLevel": 22, "SetSessionGraphOptimizationLevel": 23, "SetIntraOpNumThreads": 24,
    "SessionGetInputCount": 30, "SessionGetOutputCount": 31, "SessionGetInputTypeInfo": 33, "SessionGetOutputTypeInfo": 34, "SessionGetInputName": 36,
    "SessionGetOutputName": 37, "CreateTensorAsOrtValue": 48, "CreateTensorWithDataAsOrtValue": 49, "GetTensorMutableData": 51,
    "GetStringTensorDataLength": 53, "GetStringTensorContent": 54, "CastTypeInfoToTensorInfo": 55, "GetTensorElementType": 60,
    "GetDimensionsCount": 61, "GetDimensions": 62, "GetTensorTypeAndShape": 65, "CreateCpuMemoryInfo": 69, "AllocatorFree": 76,
    "GetAllocatorWithDefaultOptions": 78, "ReleaseStatus": 93, "ReleaseValue": 96, "ReleaseTypeInfo": 98,
    "ReleaseTensorTypeAndShapeInfo": 99, "AddSessionConfigEntry": 130, "GetResizedStringTensorElementBuffer": 252,
}  # fmt: skip
"""Positions of the functions in `OrtApi`."""
_VOID = ("ReleaseStatus", "ReleaseValue", "ReleaseTypeInfo", "ReleaseTensorTypeAndShapeInfo")
_DATATYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "BYTES", 9: "BOOL", 10: "FP16", 11: "FP64",
    12: "UINT32", 13: "UINT64",
}  # fmt: skip
"""ONNXTensorElementDataType."""
_NUMBERS = {name: number for number, name in _DATATYPES.items()}
_LEVELS = {"all": 99, "extended": 2, "basic": 1, "disabled": 0}
_INVALID_ARGUMENT = 2
_ERROR_LEVEL = 3
_SMALL_MODEL_BYTES = 1024 * 1024
_MAX_TEXT = 500
_POINTER = ctypes.c_void_p
_SIZE = ctypes.c_size_t


class _Base(ctypes.Structure):
    """OrtApiBase."""

    _fields_ = (
        ("get_api", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)),
        ("get_version", ctypes.CFUNCTYPE(ctypes.c_char_p)),
    )


class Library:
    """The library and its environment, which knows all operators: most of what a start takes."""

    def __init__(self, file: str) -> None:
        putenv(b"ORT_DISABLE_TELEMETRY", b"1")  # read while the library is loaded: it sends nothing, and opens nothing to send by
        try:
            library = ctypes.CDLL(file)
            library.OrtGetApiBase.restype = ctypes.POINTER(_Base)
            base = library.OrtGetApiBase().contents
        except (OSError, AttributeError) as error:
            raise broken(f"ONNX Runtime cannot be loaded: {error}", hint="make the bundle for this platform") from None
        self.version = base.get_version().decode()
        table = base.get_api(API_VERSION)
        if not table:
            raise broken(f"ONNX Runtime {self.version} has no C API {API_VERSION}", hint="take 1.17 or later")
        self._table = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))
        self._functions: dict[str, Any] = {}
        self.env = self.new("CreateEnv", _ERROR_LEVEL, b"aweigh")

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the table. Raises Refusal with the library's own text."""
        status = self.function(name)(*arguments)
        if status and name not in _VOID:
            code, text = self.function("GetErrorCode")(_POINTER(status)), self.function("GetErrorMessage")(_POINTER(status))
            message = ctypes.string_at(text).decode("utf-8", "replace")[:_MAX_TEXT]
            self.call("ReleaseStatus", _POINTER(status))
            if code == _INVALID_ARGUMENT and name == "Run":
                raise Refusal(f"the model refused these inputs: {message}")
            raise broken(f"ONNX Runtime, {name}: {message}")

    def new(self, name: str, *arguments: Any) -> Any:
        """Call a function whose last argument is where to put a pointer; the pointer."""
        made = _POINTER()
        self.call(name, *arguments, ctypes.byref(made))
        return made

    def number(self, name: str, *arguments: Any, kind: Any = ctypes.c_size_t) -> int:
        """The same for a number."""
        made = kind()
        self.call(name, *arguments, ctypes.byref(made))
        return int(made.value)

    def function(self, name: str) -> Any:
        """A function of the table; numbers are passed as C's int unless they are wrapped."""
        found = self._functions.get(name)
        if found is None:
            result = ctypes.c_int if name == "GetErrorCode" else None if name in _VOID else _POINTER
            found = self._functions[name] = ctypes.CFUNCTYPE(result)(self._table[PLACES[name]])
        return found


class Session:
    """One model, loaded."""

    def __init__(self, library: Library, spec: dict[str, Any], file: str, size_bytes: int) -> None:
        self._library = library
        options = _options(library, spec, size_bytes)
        self._session = library.new("CreateSession", library.env, file.encode(), options)
        self._memory = library.new("CreateCpuMemoryInfo", 0, 0)
        self._allocator = library.new("GetAllocatorWithDefaultOptions")
        self.takes, self.gives = self._edges("Input"), self._edges("Output")
        self._names: dict[str, bytes] = {name: name.encode() for name in (*self.takes, *self.gives)}

    def _edges(self, what: str) -> dict[str, tuple[str, int]]:
        """Datatype and rank by name."""
        library, found = self._library, {}
        for at in range(library.number(f"SessionGet{what}Count", self._session)):
            text = library.new(f"SessionGet{what}Name", self._session, _SIZE(at), self._allocator)
            name = ctypes.string_at(text.value).decode()
            library.call("AllocatorFree", self._allocator, text)
            info = library.new(f"SessionGet{what}TypeInfo", self._session, _SIZE(at))
            tensor = library.new("CastTypeInfoToTensorInfo", info)
            if not tensor.value:
                raise unsupported(f"'{name}' of the model is no tensor", hint="serve the package with the whole server")
            found[name] = self._kind(tensor)
            library.call("ReleaseTypeInfo", info)
        return found

    def _kind(self, info: Any) -> tuple[str, int]:
        number = self._library.number("GetTensorElementType", info, kind=ctypes.c_int)
        if number not in _DATATYPES:
            raise unsupported(f"the model has a tensor of ONNX's type {number}", hint="serve the package with the whole server")
        return _DATATYPES[number], self._library.number("GetDimensionsCount", info)

    def run(self, inputs: dict[str, Tensor], wanted: list[str]) -> list[Tensor]:
        """Ask the model. Inputs are of its own datatypes."""
        library, values = self._library, []
        try:
            values = [self._value(tensor) for tensor in inputs.values()]
            given, names = (_POINTER * len(values))(*values), (ctypes.c_char_p * len(inputs))(*[self._names[name] for name in inputs])
            asked, outputs = (ctypes.c_char_p * len(wanted))(*[self._names[name] for name in wanted]), (_POINTER * len(wanted))()
            library.call("Run", self._session, None, names, given, _SIZE(len(values)), asked, _SIZE(len(wanted)), outputs)
            values += [_POINTER(output) for output in outputs]
            return [self._tensor(_POINTER(output)) for output in outputs]
        finally:
            for value in values:
                library.call("ReleaseValue", value)

    def _value(self, tensor: Tensor) -> Any:
        library, rank = self._library, len(tensor.shape)
        shape = (ctypes.c_int64 * rank)(*tensor.shape)
        if tensor.datatype != "BYTES":
            address, count = tensor.data.buffer_info()
            size = _SIZE(count * SIZES[tensor.datatype])
            place = _POINTER(address or ctypes.addressof(_NOTHING))
            number = _NUMBERS[tensor.datatype]
            return library.new("CreateTensorWithDataAsOrtValue", self._memory, place, size, shape, _SIZE(rank), number)
        value = library.new("CreateTensorAsOrtValue", self._allocator, shape, _SIZE(rank), _NUMBERS["BYTES"])
        for at, item in enumerate(tensor.data):
            text = item if isinstance(item, bytes) else text_bytes(item)
            place = library.new("GetResizedStringTensorElementBuffer", value, _SIZE(at), _SIZE(len(text)))
            ctypes.memmove(place, text, len(text))
        return value

    def _tensor(self, value: Any) -> Tensor:
        """A copy of what the library made."""
        library = self._library
        info = library.new("GetTensorTypeAndShape", value)
        datatype, rank = self._kind(info)
        sizes = (ctypes.c_int64 * rank)()
        library.call("GetDimensions", info, sizes, _SIZE(rank))
        library.call("ReleaseTensorTypeAndShapeInfo", info)
        shape = tuple(sizes)
        if datatype == "BYTES":
            return Tensor(datatype, shape, self._texts(value, count_of(shape)))
        data = array(CODES[datatype])
        size = count_of(shape) * SIZES[datatype]
        if size:
            data.frombytes(ctypes.string_at(library.new("GetTensorMutableData", value), size))
        return Tensor(datatype, shape, data)

    def _texts(self, value: Any, count: int) -> list[bytes]:
        if not count:
            return []
        library = self._library
        size = library.number("GetStringTensorDataLength", value)
        content, starts = ctypes.create_string_buffer(size or 1), (ctypes.c_size_t * count)()
        library.call("GetStringTensorContent", value, content, _SIZE(size), starts, _SIZE(count))
        raw, ends = content.raw, [*list(starts)[1:], size]  # `raw` is a copy each time
        return [raw[start:end] for start, end in zip(starts, ends, strict=True)]


_NOTHING = ctypes.create_string_buffer(8)
"""Where an empty tensor lies."""


def _options(library: Library, spec: dict[str, Any], size_bytes: int) -> Any:
    """As `aweigh.runtimes.onnxruntime` sets them. Raises Refusal for an option that is none."""
    options = library.new("CreateSessionOptions")
    threads, arena = spec.get("threads", 1), size_bytes >= _SMALL_MODEL_BYTES
    library.call("SetSessionLogSeverityLevel", options, _ERROR_LEVEL)
    entries = {"session.intra_op.allow_spinning": "0"}
    if spec["model"].endswith(".ort"):
        entries["session.load_model_format"] = "ORT"
    for name, value in spec["options"].items():
        if name == "graph_optimization_level":
            library.call("SetSessionGraphOptimizationLevel", options, _LEVELS[value])
        elif name == "intra_op_threads":
            threads = value
        elif name == "arena":
            arena = value
        elif name.startswith("config:"):
            entries[name[len("config:") :]] = str(value)
        elif not name.startswith("lowercase:"):
            raise broken(f"the runner does not know the option {name}", hint="serve the package with the whole server")
    library.call("SetIntraOpNumThreads", options, threads)
    if not arena:
        library.call("DisableCpuMemArena", options)
        library.call("DisableMemPattern", options)
    for name, value in entries.items():
        library.call("AddSessionConfigEntry", options, name.encode(), value.encode())
    return options

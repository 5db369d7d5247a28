"""LiteRT through its C API: libLiteRt.so out of the PyPI wheel (ai-edge-litert 2.3), by ctypes. The wheel exports `LiteRt…` alone, none of the older `TfLite…`.

The headers are litert/c/*.h. A model is compiled for the processor alone: no accelerator is looked for.
"""

from __future__ import annotations

import ctypes
from array import array

from .errors import Refusal, broken, unsupported
from .tensors import CODES, SIZES, Tensor, count_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DATATYPES = {
    1: "FP32", 2: "INT32", 3: "UINT8", 4: "INT64", 6: "BOOL", 7: "INT16", 9: "INT8", 10: "FP16", 11: "FP64", 13: "UINT64", 16: "UINT32", 17: "UINT16",
}  # fmt: skip
"""LiteRtElementType."""
_NUMBERS = {name: number for number, name in _DATATYPES.items()}
_CPU = 1
_REGISTERED, _LEAST_SEVERITY = 24, 25
"""Tags of options of the environment: which accelerators are looked for, what is logged."""
_ERRORS = 3
"""The least severity that is logged."""
_INTEGER = 2
_MAX_RANK = 8
_ALIGNMENT = 64
"""Of memory that the library reads and writes."""
_POINTER = ctypes.c_void_p
_SIZE = ctypes.c_size_t
_NOTHING_TO_FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()


class _Layout(ctypes.Structure):
    """LiteRtLayout: 7 bits of rank, one bit for strides."""

    _fields_ = (("bits", ctypes.c_uint32), ("dimensions", ctypes.c_int32 * _MAX_RANK), ("strides", ctypes.c_uint32 * _MAX_RANK))


class _Type(ctypes.Structure):
    """LiteRtRankedTensorType."""

    _fields_ = (("element", ctypes.c_int), ("layout", _Layout))


class _Option(ctypes.Structure):
    """LiteRtEnvOption with a whole number; each field has a word of its own."""

    _fields_ = (("tag", ctypes.c_int64), ("kind", ctypes.c_int64), ("value", ctypes.c_int64))


class Library:
    """The library and its environment."""

    version = ""
    """The library does not tell: the bundle does."""

    def __init__(self, file: str) -> None:
        try:
            self._library = ctypes.CDLL(file)
        except OSError as error:
            raise broken(f"LiteRT cannot be loaded: {error}", hint="make the bundle for this platform") from None
        options = (_Option * 2)(_Option(_REGISTERED, _INTEGER, _CPU), _Option(_LEAST_SEVERITY, _INTEGER, _ERRORS))
        self.env = self.new("CreateEnvironment", 2, options)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function. Raises Refusal with the number that the library gave."""
        try:
            function = getattr(self._library, f"LiteRt{name}")
        except AttributeError:
            raise broken(f"this LiteRT has no function LiteRt{name}", hint="the runner knows ai-edge-litert 2.3") from None
        status = function(*arguments)
        if status and not name.startswith("Destroy"):
            raise broken(f"LiteRT, {name}: status {status}")

    def new(self, name: str, *arguments: Any) -> Any:
        """Call a function whose last argument is where to put a pointer; the pointer."""
        made = _POINTER()
        self.call(name, *arguments, ctypes.byref(made))
        return made

    def count(self, name: str, *arguments: Any) -> int:
        """The same for a number."""
        made = _SIZE()
        self.call(name, *arguments, ctypes.byref(made))
        return int(made.value)

    def text(self, name: str, *arguments: Any) -> str:
        """The same for a text."""
        made = ctypes.c_char_p()
        self.call(name, *arguments, ctypes.byref(made))
        return (made.value or b"").decode()


class Session:
    """One model, compiled. Batches of another size cost one allocation."""

    def __init__(self, library: Library, spec: dict[str, Any], file: str, size_bytes: int) -> None:
        self._library = library
        self._model = library.new("CreateModelFromFile", library.env, file.encode())
        options = library.new("CreateOptions")
        library.call("SetOptionsHardwareAccelerators", options, _CPU)
        self._compiled = library.new("CreateCompiledModel", library.env, self._model, options)
        self._signature, signature = self._choose(str(spec["options"].get("signature", "")))
        self._inputs, self._outputs = self._names(signature, "Input"), self._names(signature, "Output")
        self.takes = {name: self._edge(signature, "Input", at) for at, name in enumerate(self._inputs)}
        self.gives = {name: self._edge(signature, "Output", at) for at, name in enumerate(self._outputs)}
        self._sizes: list[tuple[int, ...]] = []
        self._axes = [{_plain(each["name"]): each["shape"] for each in spec[what]} for what in ("inputs", "outputs")]

    def _choose(self, asked: str) -> tuple[Any, Any]:
        """The signature that is meant, by position and as the library has it."""
        library, keys = self._library, []
        for at in range(library.count("GetNumModelSignatures", self._model)):
            signature = library.new("GetModelSignature", self._model, _SIZE(at))
            keys.append((library.text("GetSignatureKey", signature), at, signature))
        for key, at, signature in keys:
            if key == (asked or "serving_default") or (not asked and len(keys) == 1):
                return _SIZE(at), signature
        raise unsupported(f"the model has no signature '{asked or 'serving_default'}'", hint="serve the package with the whole server")

    def _names(self, signature: Any, what: str) -> list[str]:
        count = self._library.count(f"GetNumSignature{what}s", signature)
        return [_plain(self._library.text(f"GetSignature{what}Name", signature, _SIZE(at))) for at in range(count)]

    def _edge(self, signature: Any, what: str, at: int) -> tuple[str, int]:
        found = _Type()
        tensor = self._library.new(f"GetSignature{what}TensorByIndex", signature, _SIZE(at))
        self._library.call("GetRankedTensorType", tensor, ctypes.byref(found))
        if found.element not in _DATATYPES:
            raise unsupported(f"the model has a tensor of LiteRT's type {found.element}", hint="serve the package with the whole server")
        return _DATATYPES[found.element], found.layout.bits & 0x7F

    def run(self, inputs: dict[str, Tensor], wanted: list[str]) -> list[Tensor]:
        """Ask the model. Inputs are of its own datatypes."""
        library = self._library
        self._resize([inputs[name].shape for name in self._inputs])
        given = [_Buffer(library, inputs[name].datatype, inputs[name].shape) for name in self._inputs]
        told = [_Buffer(library, self.gives[name][0], shape) for name, shape in zip(self._outputs, self._shapes(inputs), strict=True)]
        try:
            for name, buffer in zip(self._inputs, given, strict=True):
                buffer.fill(inputs[name].data)
            ins, outs = (_POINTER * len(given))(*[each.handle for each in given]), (_POINTER * len(told))(*[each.handle for each in told])
            library.call("RunCompiledModel", self._compiled, self._signature, _SIZE(len(given)), ins, _SIZE(len(told)), outs)
            made = {name: buffer.tensor() for name, buffer in zip(self._outputs, told, strict=True)}
            return [made[name] for name in wanted]
        finally:
            for buffer in (*given, *told):
                library.call("DestroyTensorBuffer", buffer.handle)

    def _resize(self, shapes: list[tuple[int, ...]]) -> None:
        if shapes == self._sizes:
            return
        self._sizes = []
        for at, shape in enumerate(shapes):
            sizes = (ctypes.c_int * len(shape))(*shape)
            try:
                self._library.call(
                    "CompiledModelResizeInputTensorNonStrict", self._compiled, self._signature, _SIZE(at), sizes, _SIZE(len(shape))
                )
            except Refusal as error:
                raise Refusal(f"the model refused inputs of shape {list(shape)}: {error.message}") from None
        self._sizes = shapes

    def _shapes(self, inputs: dict[str, Tensor]) -> list[tuple[int, ...]]:
        """Of the outputs: as the signature has them for these inputs, since what a graph reckons while it runs the library does not know before; else the library's."""
        takes, gives = self._axes
        sizes = {axis: size for name, axes in takes.items() for axis, size in zip(axes, inputs[name].shape, strict=True)}
        stated = [[axis if axis.__class__ is int else sizes.get(axis, -1) for axis in gives.get(name, [-1])] for name in self._outputs]
        if all(-1 not in shape for shape in stated):
            return [tuple(shape) for shape in stated]
        layouts = (_Layout * len(self._outputs))()
        self._library.call(
            "GetCompiledModelOutputTensorLayouts", self._compiled, self._signature, _SIZE(len(layouts)), layouts, ctypes.c_bool(1)
        )
        return [tuple(layout.dimensions[: layout.bits & 0x7F]) for layout in layouts]


class _Buffer:
    """Memory that a tensor lies in, aligned as the library wants it."""

    def __init__(self, library: Library, datatype: str, shape: tuple[int, ...]) -> None:
        self._datatype, self._shape = datatype, shape
        self._size = count_of(shape) * SIZES[datatype]
        self._memory = ctypes.create_string_buffer(self._size + _ALIGNMENT)
        self._address = -(-ctypes.addressof(self._memory) // _ALIGNMENT) * _ALIGNMENT
        kind = _Type(_NUMBERS[datatype], _Layout(len(shape), shape))
        self.handle = library.new(
            "CreateTensorBufferFromHostMemory", ctypes.byref(kind), _POINTER(self._address), _SIZE(self._size), _NOTHING_TO_FREE
        )

    def fill(self, data: array[Any]) -> None:
        """Copy an input's elements in."""
        ctypes.memmove(self._address, data.buffer_info()[0], self._size)

    def tensor(self) -> Tensor:
        """Copy an output's elements out."""
        data = array(CODES[self._datatype])
        data.frombytes(ctypes.string_at(self._address, self._size))
        return Tensor(self._datatype, self._shape, data)


def _plain(name: str) -> str:
    """`serving_default_x:0` is what a converter makes of `x`."""
    return name.removeprefix("serving_default_").partition(":")[0]

"""The golden set: read from aweigh's tensor files, asked of the model that was loaded, compared as `aweigh.core.compare` does. Before that nothing is ready.

A file is 8 bytes magic, 8 bytes little-endian header length, the header (JSON: a list of tensors), the raw tensors. No length in it is trusted.
"""

from __future__ import annotations

from . import jsontext
from .errors import Refusal, broken
from .tensors import Tensor, count_of, from_raw, values_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .model import Model

_MAGIC = b"AWTENS1\n"
_BATCH = "batch"
_SHOWN = 8


def read_tensors(data: bytes, place: str) -> dict[str, Tensor]:
    """The named tensors of a file. Raises Refusal, naming `place`, when anything does not add up."""
    if data[:8] != _MAGIC or len(data) < 16:
        raise broken(f"{place}: not a tensor file")
    start = 16 + int.from_bytes(data[8:16], "little")
    found: dict[str, Tensor] = {}
    try:
        for entry in jsontext.read(data[16:start]):
            size, name, shape = entry["size_bytes"], entry["name"], tuple(entry["shape"])
            if not 0 <= size <= len(data) - start:
                raise broken(f"{place}: tensor '{name}' runs past the end of the file")
            tensor = from_raw(memoryview(data)[start : start + size], entry["datatype"], shape, name)
            if tensor.datatype == "BYTES":
                _as_written(tensor, entry)
            found[name] = tensor
            start += size
    except (Refusal, KeyError, TypeError, IndexError, ValueError) as error:
        raise broken(f"{place}: damaged tensor file: {error}") from error
    if start != len(data):
        raise broken(f"{place}: {len(data) - start} bytes after the last tensor")
    return found


def _as_written(tensor: Tensor, entry: dict[str, Any]) -> None:
    if entry.get("text"):
        tensor.data[:] = [item.decode() for item in tensor.data]
    for at in entry.get("missing", ()):
        tensor.data[at] = None


class Case:
    """One golden case."""

    __slots__ = ("inputs", "name", "outputs", "why")

    def __init__(self, name: str, why: str, inputs: dict[str, Tensor], outputs: list[Tensor]) -> None:
        self.name = name
        self.why = why
        self.inputs = inputs
        self.outputs = outputs


def read_case(spec: dict[str, Any], case: dict[str, Any], data: bytes) -> Case:
    """A case out of its file. Raises Refusal."""
    tensors = read_tensors(data, case["file"])
    try:
        inputs = {each["name"]: tensors[f"input/{each['name']}"] for each in spec["inputs"]}
        return Case(case["name"], case["why"], inputs, [tensors[f"output/{each['name']}"] for each in spec["outputs"]])
    except KeyError as error:
        raise broken(f"{case['file']}: no tensor {error}", hint="make the bundle again") from None


def replay(model: Model, cases: list[Case]) -> None:
    """Ask every case. Raises Refusal naming case, row, expected and actual."""
    for case in cases:
        place = f"golden case '{case.name}' ({case.why})"
        try:
            outputs = model.run(case.inputs)
        except Refusal as error:
            raise _mismatch(f"{place}: {error.message}") from error
        for each, expected, actual in zip(model.spec["outputs"], case.outputs, outputs, strict=True):
            gap = gap_of(each, expected, actual)
            if gap:
                raise _mismatch(f"{place}: output '{each['name']}': {gap}")


def _mismatch(message: str) -> Refusal:
    hint = "this machine or library answers differently than the one that packed the model: pack again, or take another variant"
    return Refusal(message, hint=hint, status=500, code="golden-mismatch")


def gap_of(spec: dict[str, Any], expected: Tensor, actual: Tensor) -> str:
    """How an output differs, in words that name the row; nothing where it agrees.

    Floats agree within the output's bounds and NaN with NaN, infinities exactly; everything else is equal or not.
    """
    if expected.shape != actual.shape:
        return f"shape {list(actual.shape)} where {list(expected.shape)} was expected"
    if expected.datatype != "BYTES" and expected.datatype == actual.datatype and expected.data == actual.data:
        return ""
    one, other = _comparable(expected), _comparable(actual)
    wrong = _beyond(spec, expected.shape, one, other) if "tolerance" in spec else [a != b for a, b in zip(one, other, strict=True)]
    if True not in wrong:
        return ""
    at, width = wrong.index(True), count_of(expected.shape[1:])
    first = at // width * width if width and expected.shape else 0
    shown = slice(first, first + min(width or 1, _SHOWN))
    return f"row {at // width if width else 0}: expected {one[shown]}, got {other[shown]}"


def _comparable(tensor: Tensor) -> list[Any]:
    if tensor.datatype == "BYTES":
        return [item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else item for item in tensor.data]
    return values_of(tensor)


def _beyond(spec: dict[str, Any], shape: tuple[int, ...], expected: list[float], actual: list[float]) -> list[bool]:
    """|actual - expected| <= atol + rtol * |expected| + scale * (largest finite magnitude of the expected row), element by element."""
    bound = spec["tolerance"]
    atol, rtol, scale = bound["atol"], bound["rtol"], bound["scale"]
    batched = bool(shape) and bool(spec["shape"]) and spec["shape"][0] == _BATCH
    width = count_of(shape[1:]) if batched else len(expected)
    wrong: list[bool] = []
    for start in range(0, len(expected), width or 1):
        row = expected[start : start + width]
        slack = atol
        if scale:
            slack += scale * max([abs(value) for value in row if value - value == 0.0], default=0.0)
        for a, b in zip(row, actual[start : start + width], strict=True):
            # an infinity agrees with itself alone, and NaN with NaN
            agrees = a == b or (a != a and b != b) or (a - a == 0.0 and abs(b - a) <= slack + rtol * abs(a))
            wrong.append(not agrees)
    return wrong

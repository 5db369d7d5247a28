"""Whether an answer is the right one: compared with what was expected, floats within the tolerances that a proof allows (core/compare).

Answers that were found right are remembered by their bytes, so that a server that answers the same costs one comparison of bytes.
What is expected is a JSON document; all that it holds must be in the answer, which may hold more (an id, a version).
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec

from aweigh.bench.plan import Question
from aweigh.core.errors import InvalidInput
from aweigh.core.tensors import Datatype, from_raw, text_of
from aweigh.core.tolerances import TOLERANCES
from aweigh.protos import DecodeError, message

_REMEMBERED: Final = 64
_TOLERANCE: Final = TOLERANCES[Datatype.FP32]
_TYPED: Final = ("bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes")
Decode = Callable[[bytes], Any]


class Checker:
    """Judges answers to questions by number; a question that expects nothing takes any answer."""

    def __init__(self, questions: Sequence[Question], decode: Decode) -> None:
        self._expected = [normal(json.loads(question.expected)) if question.expected else None for question in questions]
        self._right: list[set[bytes]] = [{question.known} if question.known else set() for question in questions]
        self._decode = decode
        self.needed = any(expected is not None for expected in self._expected)

    def difference(self, question: int, body: bytes) -> str:
        """What is wrong with the answer; empty when it is right."""
        right = self._right[question]
        expected = self._expected[question]
        if body in right or expected is None:
            return ""
        try:
            found = differs(expected, normal(self._decode(body)))
        except (ValueError, LookupError, RecursionError, DecodeError, InvalidInput) as error:
            return f"it cannot be read: {error}"
        if not found and len(right) < _REMEMBERED:
            right.add(body)
        return found


def normal(document: Any) -> Any:
    """An Open Inference answer with its outputs by name and their data flat, however they were written; anything else as it is."""
    outputs = document.get("outputs") if isinstance(document, dict) else None
    if not isinstance(outputs, list) or not all(isinstance(output, dict) and isinstance(output.get("name"), str) for output in outputs):
        return document
    return {**document, "outputs": {output["name"]: {**output, "data": _flat(output.get("data", []))} for output in outputs}}


def _flat(items: Any) -> Any:
    while isinstance(items, list) and any(isinstance(item, list) for item in items):
        items = [inner for item in items for inner in (item if isinstance(item, list) else [item])]
    return items


def differs(expected: Any, actual: Any, place: str = "$") -> str:
    """Where an answer departs from what is expected of it, in words; empty when it does not."""
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return f"{place} is {_short(actual)}, not an object"
        missing = next((name for name in expected if name not in actual), None)
        if missing is not None:
            return f"{place}.{missing} is missing"
        return next((found for name, value in expected.items() if (found := differs(value, actual[name], f"{place}.{name}"))), "")
    if isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            return f"{place} is {_short(actual)}, expected {len(expected)} values"
        return next((found for at, value in enumerate(expected) if (found := differs(value, actual[at], f"{place}[{at}]"))), "")
    return "" if _same(expected, actual) else f"{place} is {_short(actual)}, expected {_short(expected)}"


def _same(expected: Any, actual: Any) -> bool:
    if isinstance(expected, float) and isinstance(actual, int | float) and not isinstance(actual, bool):
        if math.isnan(expected) or math.isinf(expected):
            return expected == actual or (math.isnan(expected) and math.isnan(actual))
        return abs(actual - expected) <= _TOLERANCE.atol + _TOLERANCE.rtol * abs(expected)
    return bool(expected == actual) and isinstance(expected, bool) == isinstance(actual, bool)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:60] + "…"


def decode_json(body: bytes) -> Any:
    """A JSON answer; behind the JSON of an Open Inference answer may stand raw tensors, which become `data`."""
    text = body.decode("latin-1")  # one character a byte: the decoder's end is a place in the bytes
    _, end = json.JSONDecoder().raw_decode(text)
    document = json.loads(body[:end])
    if not body[end:].strip() or not isinstance(document, dict):
        return document
    at = end
    for output, told in zip(document.get("outputs") or [], _told(document), strict=True):
        if told.parameters.binary_data_size is not None:
            size = told.parameters.binary_data_size
            output["data"] = _values(body[at : at + size], told.datatype, told.shape, told.name)
            at += size
    return document


class _Size(msgspec.Struct, frozen=True, kw_only=True):
    binary_data_size: Annotated[int, msgspec.Meta(ge=0)] | None = None


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the JSON of an answer says of an output whose values stand behind it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: _Size = _Size()


def _told(document: dict[str, Any]) -> list[_Told]:
    try:
        return msgspec.convert(document.get("outputs") or [], list[_Told])
    except msgspec.ValidationError as error:
        raise ValueError(f"bytes stand behind its JSON, which does not say what they are: {error}") from error


def decode_grpc(body: bytes) -> Any:
    """A ModelInferResponse in the form of the REST answer."""
    answer = message("inference.ModelInferResponse").FromString(body)
    outputs = []
    for at, output in enumerate(answer.outputs):
        if answer.raw_output_contents:
            data = _values(answer.raw_output_contents[at], output.datatype, list(output.shape), output.name)
        else:
            data = next((list(values) for kind in _TYPED if (values := getattr(output.contents, f"{kind}_contents"))), [])
            data = [text_of(item) if isinstance(item, bytes) else item for item in data]
        outputs.append({"name": output.name, "datatype": output.datatype, "shape": list(output.shape), "data": data})
    return {"model_name": answer.model_name, "model_version": answer.model_version, "outputs": outputs}


def _values(raw: bytes, datatype: str, shape: Sequence[int], name: str) -> list[object]:
    items: list[object] = from_raw(raw, Datatype(datatype), tuple(shape), name=name).ravel().tolist()
    return [text_of(item) if isinstance(item, bytes) else item for item in items]

"""Open Inference V2 over REST: metadata, health, inference in JSON or with binary tensors. Forms and status codes are those of aweigh's server.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

from __future__ import annotations

from . import jsontext
from .errors import Refusal, not_found
from .message import Request, Response
from .tensors import LARGEST, RANGES, Tensor, check_shape, from_raw, of_numbers, text_bytes, to_raw, values_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .model import Model

HEADER = "inference-header-content-length"
_SIZE = "binary_data_size"
_NAN = float("nan")
_EXAMPLE = 'expected {"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}'
_MAX_DIGITS = 18


class OpenInference:
    """The form."""

    def __init__(self, model: Model, named: Callable[[str], str]) -> None:
        self._model = model
        self._named = named
        self._spec = model.spec

    def answer(self, request: Request, path: str) -> Response:
        """Answer by what follows /v2 in the path. Raises Refusal."""
        asks = request.method in {"GET", "HEAD"}
        if path.startswith("/models/"):
            rest = self._named(path[len("/models/") :])
            if rest == "infer":
                return self._infer(request) if request.method == "POST" else _not_allowed(request, "POST")
            if rest in {"", "ready"}:
                return (self._metadata() if not rest else Response(200)) if asks else _not_allowed(request, "GET")
        elif path in {"", "/models", "/health/live", "/health/ready"}:
            if not asks:
                return _not_allowed(request, "GET")
            if path == "/models":
                return Response(200, jsontext.write({"models": [self._spec["name"]]}))
            return Response(200) if path else Response(200, jsontext.write(self._server()))
        raise not_found(f"{request.method} {request.path[:200]}: no such route", hint="GET / lists them")

    def _server(self) -> dict[str, Any]:
        return {"name": "aweigh", "version": self._spec["aweigh_version"], "extensions": ["binary_tensor_data"]}

    def _metadata(self) -> Response:
        def told(each: dict[str, Any]) -> dict[str, Any]:
            shape = [axis if isinstance(axis, int) else -1 for axis in each["shape"]]
            return {"name": each["name"], "datatype": each["datatype"], "shape": shape}

        spec = self._spec
        body = {
            "name": spec["name"],
            "versions": [spec["version"]],
            "platform": f"aweigh_{spec['runtime']}",
            "inputs": [told(each) for each in spec["inputs"]],
            "outputs": [told(each) for each in spec["outputs"]],
        }
        return Response(200, jsontext.write(body))

    def _infer(self, request: Request) -> Response:
        body, declared = request.body, request.headers.get(HEADER)
        length = len(body) if declared is None else _length(declared, len(body))
        asked = jsontext.read(body[:length])
        if not isinstance(asked, dict) or not isinstance(asked.get("inputs"), list):
            raise Refusal("not an inference request: it has no list 'inputs'", hint=_EXAMPLE)
        identity = asked.get("id")
        if identity is not None and not isinstance(identity, str):
            raise Refusal("not an inference request: 'id' is no text", hint=_EXAMPLE)
        tensors = self._tensors(asked["inputs"], memoryview(body)[length:])
        wanted = self._wanted(asked)
        outputs = self._model.ask(tensors)
        return self._encode(identity, [(self._spec["outputs"][at], outputs[at], binary) for at, binary in wanted])

    def _tensors(self, inputs: list[Any], blobs: memoryview) -> dict[str, Tensor]:
        kinds = {each["name"]: each["datatype"] for each in self._spec["inputs"]}
        made: dict[str, Tensor] = {}
        at_byte = 0
        for at, given in enumerate(inputs):
            place = f"$.inputs[{at}]"
            if not isinstance(given, dict) or not isinstance(given.get("name"), str):
                raise Refusal(f"not an inference request: {place} has no name", hint=_EXAMPLE)
            name, datatype = given["name"], given.get("datatype")
            if name not in kinds:
                raise Refusal(f"unexpected inference input '{name[:80]}'", hint=f"this model takes {', '.join(kinds)}")
            if datatype != kinds[name]:
                raise Refusal(f"input '{name}': expected datatype {kinds[name]}, got {str(datatype)[:40]!r}")
            if name in made:
                raise Refusal(f"{place}: input '{name}' is given twice")
            shape = check_shape(given.get("shape"), self._spec["limits"]["elements"], place)
            size = _parameters(given).get(_SIZE)
            if (size is None) == (given.get("data") is None):
                raise Refusal(f"input '{name}': set either 'data' or 'binary_data_size'")
            if size is None:
                made[name] = _of_json(given["data"], datatype, shape, place)
            else:
                if size.__class__ is not int or not 0 <= size <= len(blobs) - at_byte:
                    raise Refusal(f"input '{name}': binary_data_size {str(size)[:20]}, {len(blobs) - at_byte} bytes are left")
                made[name] = from_raw(blobs[at_byte : at_byte + size], datatype, shape, name)
                at_byte += size
        if at_byte != len(blobs):
            raise Refusal(f"unexpected additional input data: {len(blobs) - at_byte} bytes belong to no input")
        return made

    def _wanted(self, asked: dict[str, Any]) -> list[tuple[int, bool]]:
        """Positions of the outputs that are asked for, and whether in binary."""
        binary = _flag(_parameters(asked), "binary_data_output", default=False)
        outputs = asked.get("outputs")
        names = [each["name"] for each in self._spec["outputs"]]
        if not outputs:
            return self._in_form([(at, binary) for at in range(len(names))])
        if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
            raise Refusal("not an inference request: 'outputs' is no list of objects")
        found: list[tuple[int, bool]] = []
        for each in outputs:
            name, parameters = each.get("name"), _parameters(each)
            if name not in names:
                raise Refusal(f"unexpected output '{str(name)[:80]}'", hint=f"this model gives {', '.join(names)}")
            for word in ("classification", "shared_memory_region"):
                if parameters.get(word):
                    raise Refusal(f"output '{name}': {word} is not done here", hint="serve the package with the whole server")
            at = names.index(name)
            if any(at == known for known, _ in found):
                raise Refusal(f"output '{name}' is asked for twice")
            found.append((at, _flag(parameters, "binary_data", default=binary)))
        return self._in_form(found)

    def _in_form(self, wanted: list[tuple[int, bool]]) -> list[tuple[int, bool]]:
        for at, binary in wanted:
            each = self._spec["outputs"][at]
            if each["datatype"] == "FP16" and not binary:
                raise Refusal("sending FP16 data via JSON is not supported", hint=f"output '{each['name']}': ask for it with binary_data")
        return wanted

    def _encode(self, identity: str | None, outputs: list[tuple[dict[str, Any], Tensor, bool]]) -> Response:
        entries: list[dict[str, Any]] = []
        blobs = []
        for each, output, binary in outputs:
            entry: dict[str, Any] = {"name": each["name"], "datatype": each["datatype"], "shape": list(output.shape)}
            if binary:
                blobs.append(to_raw(output))
                entry["parameters"] = {_SIZE: len(blobs[-1])}
            else:
                entry["data"] = _to_json(output)
            entries.append(entry)
        told = {} if identity is None else {"id": identity}
        head = jsontext.write(
            {**told, "model_name": self._spec["name"], "model_version": self._spec["version"], "outputs": entries}, tokens=True
        )
        if not blobs:
            return Response(200, head)
        return Response(200, b"".join([head, *blobs]), "application/octet-stream", ((HEADER, str(len(head))),))


def _not_allowed(request: Request, method: str) -> Response:
    raise Refusal(f"{request.method} {request.path[:200]}: not allowed", hint=f"send {method}", status=405)


def _length(declared: str, size: int) -> int:
    text = declared.strip()
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS or not 0 < int(text) <= size:
        raise Refusal(f"inference header size should be in range (0, {size}), got: {text[:40]}")
    return int(text)


def _parameters(given: dict[str, Any]) -> dict[str, Any]:
    found = given.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refusal("not an inference request: 'parameters' is no object")
    return found


def _flag(parameters: dict[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Refusal(f"Unable to parse '{name}': attempt to access JSON non-boolean as boolean")
    return value


def _of_json(data: Any, datatype: str, shape: tuple[int, ...], place: str) -> Tensor:
    """Flat or nested data; null is NaN in floats and missing in BYTES. Raises Refusal with the place."""
    if datatype == "FP16":
        raise Refusal("receiving FP16 data via JSON is not supported", hint=f"{place}: send it with binary_data_size")
    if not isinstance(data, list):
        raise Refusal(f"{place}.data: expected a list")
    flat = _flatten(data, shape, place) if data and isinstance(data[0], list) else data
    count = 1
    for size in shape:
        count *= size
    if len(flat) != count:
        raise Refusal(f"{place}.data has {len(flat)} elements, but shape {list(shape)} needs {count}")
    if datatype == "BYTES":
        if not all(item is None or isinstance(item, str) for item in flat):
            raise Refusal(f"{place}.data: expected texts (datatype BYTES)")
        for item in flat:
            text_bytes(item or "")
        return Tensor(datatype, shape, list(flat))
    return of_numbers(datatype, shape, _numbers(flat, datatype, place), f"{place}.data")


def _numbers(flat: list[Any], datatype: str, place: str) -> list[Any]:
    if datatype in LARGEST:
        if not all(item.__class__ in {float, int, type(None)} for item in flat):
            raise Refusal(f"{place}.data: expected numbers (datatype {datatype})")
        return [_NAN if item is None else item for item in flat]
    if datatype in RANGES:
        if not all(item.__class__ is int or (item.__class__ is float and item - item == 0 and item.is_integer()) for item in flat):
            raise Refusal(f"{place}.data: expected whole numbers (datatype {datatype})")
        return [int(item) for item in flat]
    if not all(item.__class__ is bool for item in flat):
        raise Refusal(f"{place}.data: expected true or false (datatype BOOL)")
    return [int(item) for item in flat]


def _flatten(data: list[Any], shape: tuple[int, ...], place: str) -> list[Any]:
    """Row-major elements of lists that are nested exactly as the shape says."""
    rows, before = data, shape[:1]
    if before != (len(data),):
        raise Refusal(f"{place}.data holds {len(data)} rows, but shape {list(shape)} says otherwise")
    for axis, size in enumerate(shape[1:], 1):
        deeper: list[Any] = []
        for row in rows:
            if not isinstance(row, list) or len(row) != size:
                raise Refusal(f"{place}.data: on axis {axis} expected lists of {size}", hint=f"the declared shape is {list(shape)}")
            deeper.extend(row)
        rows = deeper
    return rows


def _to_json(output: Tensor) -> list[Any]:
    if output.datatype == "BYTES":
        return [_text(item) for item in output.data]
    if output.datatype == "FP32":
        return [jsontext.Ready(_shortest(value)) if value - value == 0.0 else value for value in output.data]
    return values_of(output)


def _text(item: Any) -> str | None:
    try:
        return item.decode() if isinstance(item, bytes) else item
    except UnicodeDecodeError:
        raise Refusal("an output holds bytes that are not UTF-8, which JSON cannot carry", hint="ask for it with binary_data") from None


def _shortest(value: float) -> str:
    """The shortest decimal that is this float32 and no other, as the server writes it."""
    from array import array

    for digits in (6, 7, 8):
        text = f"{value:.{digits}g}"
        if array("f", (float(text),))[0] == value:
            break
    else:
        text = f"{value:.9g}"
    return text if any(mark in text for mark in ".en") else f"{text}.0"

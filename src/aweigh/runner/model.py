"""The model as it is asked: requests held against the signature, elements brought to the datatypes that the file has, answers brought back.

What is checked, cast and refused is what `aweigh.core.signature` and `aweigh.runtimes.adapt` do; the golden set is replayed through it.
"""

from __future__ import annotations

from math import prod

from .errors import Refusal, broken, too_large
from .tensors import FLOATS, Tensor, cast, values_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BATCH = "batch"
_LOWERCASE = "lowercase:"


class Model:
    """A session with its signature around it."""

    def __init__(self, spec: dict[str, Any], session: Any) -> None:
        self.spec = spec
        self._session = session
        self._lower = {name[len(_LOWERCASE) :] for name, value in spec["options"].items() if name.startswith(_LOWERCASE) and value}
        self._wanted: list[str] = [each["name"] for each in spec["outputs"]]
        self._axes: list[int] = [len(each["shape"]) for each in spec["outputs"]]
        self.batched = all(each["shape"] and each["shape"][0] == _BATCH for each in (*spec["inputs"], *spec["outputs"]))
        self._check_edges()

    def _check_edges(self) -> None:
        takes, gives = self._session.takes, self._session.gives
        for what, asked, known in (("input", self.spec["inputs"], takes), ("output", self.spec["outputs"], gives)):
            for each in asked:
                if each["name"] not in known:
                    raise broken(f"the model has no {what} '{each['name']}'", hint=f"it has: {', '.join(known)}")
        extra = [name for name in takes if name not in {each["name"] for each in self.spec["inputs"]}]
        if extra:
            raise broken(f"the model needs input '{extra[0]}', which the signature does not have")

    def check(self, tensors: dict[str, Tensor]) -> int:
        """The rows of a request. Raises Refusal, naming the input, unless names, datatypes, shapes and values fit."""
        known = [each["name"] for each in self.spec["inputs"]]
        for name in tensors:
            if name not in known:
                raise Refusal(f"unexpected input '{name}'", hint=f"this model takes {', '.join(known)}")
        sizes: dict[str, int] = {}
        for each in self.spec["inputs"]:
            tensor = tensors.get(each["name"])
            if tensor is None:
                raise Refusal(f"expected {len(known)} inputs but got {len(tensors)}: '{each['name']}' is missing")
            if not _fits(tensor.shape, each["shape"], sizes):
                expected = [axis if isinstance(axis, int) else -1 for axis in each["shape"]]
                raise Refusal(f"unexpected shape for input '{each['name']}': expected {expected}, got {list(tensor.shape)}")
            _check_values(tensor, each)
        rows = sizes[_BATCH] if self.batched else 1
        if rows > self.spec["limits"]["rows"]:
            raise too_large(f"{rows} rows in one request; this server takes {self.spec['limits']['rows']}", hint="send fewer rows")
        return rows

    def ask(self, tensors: dict[str, Tensor]) -> list[Tensor]:
        """Answers to a request that may be wrong. Raises Refusal."""
        self.check(tensors)
        return self.run(tensors)

    def run(self, tensors: dict[str, Tensor]) -> list[Tensor]:
        """Answers to tensors that fit, in the signature's order. Raises Refusal where the model fails."""
        given = {name: self._as_taken(name, tensors[name], kind) for name, (kind, _) in self._session.takes.items()}
        answers = self._session.run(given, self._wanted)
        return [self._as_told(each, axes, answer) for each, axes, answer in zip(self.spec["outputs"], self._axes, answers, strict=True)]

    def _as_taken(self, name: str, tensor: Tensor, kind: str) -> Tensor:
        if tensor.datatype != "BYTES":
            return cast(tensor, kind)
        texts = [self._text(name, item) for item in tensor.data]
        return Tensor("BYTES", tensor.shape, [text.lower() for text in texts] if name in self._lower else texts)

    def _text(self, name: str, item: object) -> str:
        if isinstance(item, bytes):
            try:
                return item.decode()
            except UnicodeDecodeError as error:
                raise Refusal(f"input '{name}': a BYTES element is not UTF-8: {error}", hint="this model takes text: send UTF-8") from None
        if item is None:
            missing = self.spec["missing_text"]
            if missing is None:
                raise Refusal(f"input '{name}' has a missing element, and this model takes none", hint="send text for every element")
            return str(missing)
        return str(item)

    def _as_told(self, each: dict[str, Any], axes: int, answer: Tensor) -> Tensor:
        if answer.datatype != each["datatype"]:
            if "BYTES" in (answer.datatype, each["datatype"]):
                raise broken(f"output '{each['name']}' is {each['datatype']} in the signature but {answer.datatype} in the model")
            answer = cast(answer, each["datatype"])
        if len(answer.shape) == axes + 1 and answer.shape[-1] == 1:
            return Tensor(answer.datatype, answer.shape[:-1], answer.data)
        if len(answer.shape) == axes - 1:
            return Tensor(answer.datatype, (*answer.shape, 1), answer.data)
        return answer


def _fits(shape: tuple[int, ...], axes: list[Any], sizes: dict[str, int]) -> bool:
    if len(shape) != len(axes):
        return False
    return all(
        size == axis if axis.__class__ is int else sizes.setdefault(axis, size) == size for size, axis in zip(shape, axes, strict=True)
    )


def _check_values(tensor: Tensor, each: dict[str, Any]) -> None:
    """Raise Refusal for what the source itself refuses."""
    missing, infinite = each["takes_missing"], each["takes_infinite"]
    not_missing, not_infinite = set(each["refuses_missing_at"]), set(each["refuses_infinite_at"])
    if (missing and infinite and not not_missing and not not_infinite) or (tensor.datatype != "BYTES" and tensor.datatype not in FLOATS):
        return
    width = prod(tensor.shape[1:])
    if tensor.datatype == "BYTES":
        at = next((at for at, item in enumerate(tensor.data) if item is None and not (missing and at % width not in not_missing)), -1)
        what = "a missing element"
    else:
        values = values_of(tensor)
        wrong = (
            at
            for at, value in enumerate(values)
            if value - value != 0.0
            and not (missing and at % width not in not_missing if value != value else infinite and at % width not in not_infinite)
        )
        at = next(wrong, -1)
        what = "NaN" if at >= 0 and values[at] != values[at] else "an infinity"
    if at >= 0:
        hint = "send a text" if tensor.datatype == "BYTES" else "the model was trained without such values: send a number"
        raise Refusal(f"input '{each['name']}': {what} at element {at}, which this model does not take", hint=hint)

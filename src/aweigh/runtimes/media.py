"""What steps of images and sounds share: a session that takes files, as bytes or in base64, and answers what people ask. Called by `images.py`, `sounds.py`.

Files come from strangers: how they are read is bounded, and what cannot be read is refused as the sender's mistake.
"""

import base64
import binascii
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import AweighError, InvalidFile, InvalidInput, TooLarge
from aweigh.core.protocols import Session
from aweigh.core.signature import BATCH, Signature
from aweigh.core.steps import MediaAnswer, MediaStep
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.runtimes.media_answers import Placed, answerer

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
_MAX_ELEMENTS_A_CALL: Final = 8_000_000
"""Rows run together up to so many numbers: what is decoded is larger by far than the files it came in."""
_MAX_ELEMENTS_HELD: Final = 4 * _MAX_ELEMENTS_A_CALL
"""Of rows of different shapes that wait for others of theirs."""
_SHOWN: Final = 60
Numbers = NDArray[Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One file as the model takes it, without the batch axis, and where it lay in what was sent."""

    tensor: Numbers
    placed: Placed | None = None


Reader = Callable[[bytes], Read]
Check = Callable[[Sequence[bytes]], None]
"""Raises TooLarge for files that are too much together, before one is read."""


class MediaSession:
    """Files are read one by one; those of one shape run together where the model has a batch axis, by themselves where it has none."""

    def __init__(
        self, session: Session, step: MediaStep, signature: Signature, read: Reader, answer: MediaAnswer | None, check: Check | None = None
    ) -> None:
        self.concurrent = session.concurrent
        self.isolated = session.isolated
        self._session = session
        self._name = step.input
        self._what = step.kind
        self._read = read
        self._check = check
        self._spec = taken(step.model_signature)
        self._together = step.model_signature.batched
        self._alone_axis = len(self._spec.shape) > 0 and self._spec.shape[0] in {1, BATCH}
        self._answer = answerer(answer, signature, step.model_signature)
        self._without_rows = signature.without_rows

    def run(self, inputs: Tensors) -> list[Tensor]:
        files = [self._file(item, at) for at, item in enumerate(inputs[self._name].ravel().tolist())]
        if not files:
            return self._without_rows()
        if self._check is not None:
            self._check(files)
        order: list[int] = []
        parts: list[list[Tensor]] = []
        for group in self._groups(files):
            order += [at for at, _ in group]
            parts.append(self._answered([row for _, row in group]))
        back = np.argsort(np.array(order, dtype=np.int64), kind="stable")
        return [np.concatenate(found)[back] for found in zip(*parts, strict=True)]

    def close(self) -> None:
        self._session.close()

    def _file(self, item: object, at: int) -> bytes:
        try:
            return file_of(item, self._what)
        except AweighError as error:
            raise self._in_row(error, at) from error

    def _row(self, file: bytes, at: int) -> Read:
        try:
            return self._read(file)
        except AweighError as error:
            raise self._in_row(error, at) from error

    def _in_row(self, error: AweighError, at: int) -> AweighError:
        return error.saying(f"input '{self._name}', row {at}: {error.message}", input=self._name, row=at)

    def _groups(self, files: Sequence[bytes]) -> Iterator[list[tuple[int, Read]]]:
        """Rows and their positions that run in one call, read as they are asked for: of equal shape, and not more than memory should hold."""
        waiting: dict[tuple[int, ...], list[tuple[int, Read]]] = {}
        held = 0
        for at, file in enumerate(files):
            row = self._row(file, at)
            shape, size = row.tensor.shape, row.tensor.size
            if not self._together:
                yield [(at, row)]
                continue
            if (len(waiting.get(shape, ())) + 1) * size > _MAX_ELEMENTS_A_CALL and shape in waiting:
                held -= len(waiting[shape]) * size
                yield waiting.pop(shape)
            waiting.setdefault(shape, []).append((at, row))
            held += size
            if held > _MAX_ELEMENTS_HELD:
                yield from waiting.values()
                waiting, held = {}, 0
        yield from waiting.values()

    def _answered(self, rows: Sequence[Read]) -> list[Tensor]:
        stacked = np.stack([row.tensor for row in rows])
        tensor = stacked if self._together or self._alone_axis else stacked[0]
        feeds: dict[str, Tensor] = {self._spec.name: np.ascontiguousarray(tensor, dtype=self._spec.datatype.dtype)}
        return self._answer(self._session.run(feeds), [row.placed for row in rows], together=self._together)


def taken(signature: Signature) -> Any:
    """The model's only input. Raises InvalidFile for a signature that has no place for one file a row."""
    spec = signature.inputs[0]
    if len(signature.inputs) != 1 or spec.datatype in {Datatype.BYTES, Datatype.BOOL}:
        raise InvalidFile("a step of files around a model that does not take one tensor of numbers", hint="pack the model again")
    return spec


def file_of(item: object, what: str) -> bytes:
    """The file in one element: its bytes, or text that is its base64 (a `data:` URL too). Raises InvalidInput, TooLarge."""
    if item is None:
        raise InvalidInput(f"there is no {what}", hint=f"send one {what} file for every row")
    data = item if isinstance(item, bytes) else _bytes_in(str(item), what)
    if not data:
        raise InvalidInput(f"the {what} file is empty", hint=f"send a whole {what} file")
    if len(data) > MAX_FILE_BYTES:
        raise TooLarge(f"a {what} file of {len(data)} bytes", hint=f"at most {MAX_FILE_BYTES} bytes are taken")
    return data


def _bytes_in(text: str, what: str) -> bytes:
    if text.startswith("RIFF"):  # a WAV file whose every byte happened to be a character: doors give such elements as text
        return text.encode("utf-8", "surrogatepass")
    _, comma, rest = text.partition(",") if text.startswith("data:") else ("", "", "")
    try:
        return base64.b64decode((rest if comma else text).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raise InvalidInput(
            f"{text[:_SHOWN]!r} is no {what} file in base64", hint="send the file's bytes, or their base64; never a path or an address"
        ) from None

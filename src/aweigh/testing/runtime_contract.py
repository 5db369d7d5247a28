"""The contract of a runtime, as a class that pytest collects when it is subclassed. What passes it can be served."""

import dataclasses
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import msgspec
import numpy as np

from aweigh.core.compare import compare
from aweigh.core.errors import AweighError, FileMissing, InternalError, InvalidFile, NotFound, Unavailable
from aweigh.core.package import Variant
from aweigh.core.protocols import Runtime, Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Datatype, Tensor

_THREADS = 4
_ROUNDS = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSample:
    """A model to hold a runtime to: its variant, its signature, the folder of its files, inputs, and the answers that are right."""

    variant: Variant
    signature: Signature
    folder: Path
    inputs: dict[str, Tensor]
    expected: list[Tensor]

    def path(self, file: str) -> Path:
        return self.folder / file


class RuntimeContract:
    """Subclass as `TestX`, and implement `runtime` and `samples`."""

    def runtime(self) -> Runtime:
        """A new runtime."""
        raise NotImplementedError

    def samples(self, folder: Path) -> Sequence[RuntimeSample]:
        """Models made on the spot in `folder`, one with several outputs among them."""
        raise NotImplementedError

    def test_answers_are_the_right_ones(self, tmp_path: Path) -> None:
        """Equal answers, twice in a row, of the promised datatype, shape and order."""
        for sample, session in self._sessions(tmp_path):
            for _ in range(2):
                _agree(sample, session.run(sample.inputs))

    def test_outputs_follow_the_order_of_the_signature(self, tmp_path: Path) -> None:
        """The signature decides the order, not the file."""
        for sample in self.samples(tmp_path):
            turned = msgspec.structs.replace(sample.signature, outputs=tuple(reversed(sample.signature.outputs)))
            other = dataclasses.replace(sample, signature=turned, expected=list(reversed(sample.expected)))
            with self._open(other) as session:
                _agree(other, session.run(other.inputs))

    def test_inputs_are_found_by_name(self, tmp_path: Path) -> None:
        """The order of the mapping means nothing."""
        for sample, session in self._sessions(tmp_path):
            _agree(sample, session.run(dict(reversed(sample.inputs.items()))))

    def test_inputs_are_left_as_they_were(self, tmp_path: Path) -> None:
        """Read-only inputs are taken (requests are views of the body), and no input changes."""
        for sample, session in self._sessions(tmp_path):
            kept = {name: tensor.copy() for name, tensor in sample.inputs.items()}
            for tensor in kept.values():
                tensor.flags.writeable = False
            _agree(sample, session.run(kept))
            _require(all(map(_same, kept.values(), sample.inputs.values())), "an input was changed")

    def test_text_may_come_as_bytes(self, tmp_path: Path) -> None:
        """BYTES arrive from the wire as `bytes` and from Python as `str`."""
        for sample, session in self._sessions(tmp_path):
            _agree(sample, session.run({name: _as_bytes(tensor) for name, tensor in sample.inputs.items()}))

    def test_wrong_inputs_are_a_typed_error_and_the_next_call_works(self, tmp_path: Path) -> None:
        """The engine checks inputs first; what slips through must not end the session."""
        for sample, session in self._sessions(tmp_path):
            wrong = {name: np.zeros((2, 3, 5, 7), dtype=np.float32) for name in sample.inputs}
            with suppress(AweighError):
                session.run(wrong)
            _agree(sample, session.run(sample.inputs))

    def test_bad_files_are_typed_errors(self, tmp_path: Path) -> None:
        """An absent, an empty, a truncated and a foreign file: each InvalidFile or FileMissing, naming no more than is known."""
        for sample in self.samples(tmp_path):
            if not sample.variant.files:
                continue
            data = sample.path(sample.variant.files[0]).read_bytes()
            for content in (None, b"", data[: len(data) // 2], b"%PDF-1.7 this is no model" * 10):
                file = tmp_path / "bad-file"
                file.unlink(missing_ok=True)
                if content is not None:
                    file.write_bytes(content)
                self._require_refused(sample, file)

    def test_closed_twice_and_used_after(self, tmp_path: Path) -> None:
        """`close` may be called twice; a closed session may refuse, typed, but never hang or crash."""
        for sample in self.samples(tmp_path):
            session = self._load(sample, sample.path)
            session.close()
            session.close()
            try:
                session.run(sample.inputs)
            except AweighError as error:
                _require(isinstance(error, Unavailable | InternalError), f"a closed session raised {type(error).__name__}")

    def test_callers_from_several_threads(self, tmp_path: Path) -> None:
        """At once where the session is `concurrent`, in turn where it is not; every caller gets its own answer."""
        for sample, session in self._sessions(tmp_path):
            turn = threading.Lock()
            wrong: list[BaseException] = []
            threads = [threading.Thread(target=_caller, args=(sample, session, turn, wrong)) for _ in range(_THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if wrong:
                raise wrong[0]

    def _require_refused(self, sample: RuntimeSample, file: Path) -> None:
        try:
            self._load(sample, lambda _: file).close()
        except (InvalidFile, FileMissing, NotFound):
            return
        raise AssertionError(f"a bad file was loaded: {file.stat().st_size} bytes")

    def _load(self, sample: RuntimeSample, path: Callable[[str], Path]) -> Session:
        return self.runtime().load(sample.variant, sample.signature, path)

    @contextmanager
    def _open(self, sample: RuntimeSample) -> Iterator[Session]:
        session = self._load(sample, sample.path)
        try:
            yield session
        finally:
            session.close()

    def _sessions(self, folder: Path) -> Iterator[tuple[RuntimeSample, Session]]:
        for sample in self.samples(folder):
            with self._open(sample) as session:
                yield sample, session


def broken(contract: RuntimeContract, folder: Path) -> dict[str, str]:
    """What a runtime breaks of the contract, by test, and how; empty where it holds all of it. For environments that have a runtime's library and no pytest."""
    found: dict[str, str] = {}
    for name in sorted(each for each in dir(contract) if each.startswith("test_")):
        try:
            getattr(contract, name)(Path(mkdtemp(prefix="contract-", dir=folder)))
        except Exception:  # noqa: BLE001  # boundary: the next test is told of too
            found[name] = traceback.format_exc()
    return found


def _caller(sample: RuntimeSample, session: Session, turn: threading.Lock, wrong: list[BaseException]) -> None:
    try:
        for _ in range(_ROUNDS):
            if session.concurrent:
                _agree(sample, session.run(sample.inputs))
            else:
                with turn:
                    _agree(sample, session.run(sample.inputs))
    except BaseException as error:  # noqa: BLE001  # boundary: raised again in the test's thread
        wrong.append(error)


def _agree(sample: RuntimeSample, actual: list[Tensor]) -> None:
    _require(len(actual) == len(sample.expected), f"{len(actual)} outputs, {len(sample.expected)} expected")
    for spec, tensor in zip(sample.signature.outputs, actual, strict=True):
        _require(isinstance(tensor, np.ndarray), f"output '{spec.name}' is a {type(tensor).__name__}, not an array")
        _require(tensor.dtype == spec.datatype.dtype, f"output '{spec.name}' is {tensor.dtype}, not {spec.datatype.value}")
        if spec.datatype is Datatype.BYTES:
            _require(all(isinstance(item, str | bytes) for item in tensor.ravel().tolist()), f"output '{spec.name}' holds what is no text")
    difference = compare(sample.signature.outputs, sample.expected, actual)
    _require(difference.agrees, f"the answers differ: {difference}")


def _as_bytes(tensor: Tensor) -> Tensor:
    if tensor.dtype != object:
        return tensor
    filled = np.empty(tensor.size, dtype=object)
    filled[:] = [item.encode() if isinstance(item, str) else item for item in tensor.ravel().tolist()]
    return filled.reshape(tensor.shape)


def _same(one: Tensor, two: Tensor) -> bool:
    return one.tobytes() == two.tobytes() if one.dtype != object else one.tolist() == two.tolist()


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)

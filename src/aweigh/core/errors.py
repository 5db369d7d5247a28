"""Every error aweigh raises on purpose, as one tree. Raised everywhere, rendered at the edges; knows no HTTP, gRPC or exit code.

AweighError                  code                 kind
├─ InvalidInput              invalid-input        INVALID          a value from a person, file or peer is wrong
│  ├─ InvalidName            invalid-name         INVALID          a model name, version, alias or digest
│  ├─ InvalidSetting         invalid-setting      INVALID          an unknown key, or a value that does not fit
│  ├─ InvalidFile            invalid-file         INVALID          truncated, corrupt, or not what it claims to be
│  └─ WrongUse               wrong-use            INVALID          a command line that cannot be understood
├─ TooLarge                  too-large            TOO_LARGE        more bytes, rows or elements than a limit allows
├─ Unauthenticated           unauthenticated      UNAUTHENTICATED  no API key, or one that is not known
├─ Denied                    denied               DENIED           the key is known, its owner may not do this
├─ NotFound                  not-found            NOT_FOUND        what was named is not there
│  ├─ ModelNotFound          model-not-found      NOT_FOUND        no such model, version or alias
│  └─ FileMissing            file-not-found       NOT_FOUND        no such file
├─ Conflict                  conflict             CONFLICT         it would undo or overwrite something
├─ Unsupported               unsupported          UNSUPPORTED      valid, but not something aweigh can do
│  ├─ UnknownFormat          unknown-format       UNSUPPORTED      a model file that no framework recognises
│  └─ MissingLibrary         missing-library      UNSUPPORTED      the hint names the extra to install
├─ Refused                   refused              REFUSED          a check failed; nothing was changed
│  ├─ NotTrusted             not-trusted          REFUSED          loading would run code from the file
│  ├─ ProofFailed            proof-failed         REFUSED          the converted model answers differently
│  └─ GoldenMismatch         golden-mismatch      REFUSED          a session answers differently on this machine
├─ Unavailable               unavailable          UNAVAILABLE      not now; trying again later may help
│  ├─ NotReady               not-ready            UNAVAILABLE      still loading, warming up or draining
│  │  └─ NotLoaded           not-loaded           UNAVAILABLE      it is loaded when it is asked for
│  ├─ InsufficientMemory     insufficient-memory  UNAVAILABLE      the memory budget has no room for a model
│  ├─ PortInUse              port-in-use          UNAVAILABLE      another process listens there
│  ├─ StoreUnavailable       store-unavailable    UNAVAILABLE      the home folder cannot be read or written, or is full
│  └─ ChildDied              child-died           UNAVAILABLE      an isolated child crashed or was killed
├─ Overloaded                overloaded           OVERLOADED       the queue is full
├─ DeadlineExceeded          deadline-exceeded    TIMEOUT          it took longer than was allowed
├─ Cancelled                 cancelled            CANCELLED        whoever asked has left
└─ InternalError             internal             INTERNAL         a bug in aweigh, or a model that raised
"""

import enum
from collections.abc import Callable
from typing import Any, ClassVar, Self


class Kind(enum.StrEnum):
    """What sort of failure it is; each edge maps it to its own status in one table."""

    INVALID = "INVALID"
    TOO_LARGE = "TOO_LARGE"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    DENIED = "DENIED"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    UNSUPPORTED = "UNSUPPORTED"
    REFUSED = "REFUSED"
    UNAVAILABLE = "UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    INTERNAL = "INTERNAL"


class AweighError(Exception):
    """Base of all errors: a message (what, value, place), a hint (the next step), and context for logs and `--json`."""

    code: ClassVar[str] = "error"
    kind: ClassVar[Kind] = Kind.INTERNAL

    def __init__(self, message: str, *, hint: str = "", **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context

    @property
    def hint(self) -> str:
        """The next step, which a traceback shows below the message; "" for none."""
        return self._hint

    @hint.setter
    def hint(self, text: str) -> None:
        notes = [note for note in getattr(self, "__notes__", ()) if note != _note(getattr(self, "_hint", ""))]
        self._hint = text
        if text or notes:
            self.__notes__ = [_note(text), *notes] if text else notes

    def saying(self, message: str, **context: object) -> Self:
        """The same error with another message, and more context: of the same kind, to be raised anew."""
        made = type(self)(message, hint=self.hint)
        made.context = {**self.context, **context}
        return made

    def as_dict(self) -> dict[str, object]:
        """The form that `--json` and child processes carry: code, kind, message, hint, context as text."""
        return {
            "code": self.code,
            "kind": self.kind.value,
            "message": self.message,
            "hint": self.hint,
            "context": {name: str(value) for name, value in self.context.items()},
        }


def _note(hint: str) -> str:
    return f"hint: {hint}"


class InvalidInput(AweighError):
    code, kind = "invalid-input", Kind.INVALID


class InvalidName(InvalidInput):
    code = "invalid-name"


class InvalidSetting(InvalidInput):
    code = "invalid-setting"


class InvalidFile(InvalidInput):
    code = "invalid-file"


class WrongUse(InvalidInput):
    code = "wrong-use"


class TooLarge(AweighError):
    code, kind = "too-large", Kind.TOO_LARGE


class Unauthenticated(AweighError):
    code, kind = "unauthenticated", Kind.UNAUTHENTICATED


class Denied(AweighError):
    code, kind = "denied", Kind.DENIED


class NotFound(AweighError):
    code, kind = "not-found", Kind.NOT_FOUND


class ModelNotFound(NotFound):
    code = "model-not-found"


class FileMissing(NotFound):
    code = "file-not-found"


class Conflict(AweighError):
    code, kind = "conflict", Kind.CONFLICT


class Unsupported(AweighError):
    code, kind = "unsupported", Kind.UNSUPPORTED


class UnknownFormat(Unsupported):
    code = "unknown-format"


class MissingLibrary(Unsupported):
    code = "missing-library"


class Refused(AweighError):
    code, kind = "refused", Kind.REFUSED


class NotTrusted(Refused):
    code = "not-trusted"


class ProofFailed(Refused):
    code = "proof-failed"


class GoldenMismatch(Refused):
    code = "golden-mismatch"


class Unavailable(AweighError):
    code, kind = "unavailable", Kind.UNAVAILABLE


class NotReady(Unavailable):
    code = "not-ready"


class NotLoaded(NotReady):
    """`wake`, where there is one, has it loaded: for a caller who waits, it takes the caller and what to tell of the outcome."""

    code = "not-loaded"
    wake: Callable[[Any, Callable[["AweighError | None"], None]], None] | None = None


class InsufficientMemory(Unavailable):
    code = "insufficient-memory"


class PortInUse(Unavailable):
    code = "port-in-use"


class StoreUnavailable(Unavailable):
    code = "store-unavailable"


class ChildDied(Unavailable):
    code = "child-died"


class Overloaded(AweighError):
    code, kind = "overloaded", Kind.OVERLOADED


class DeadlineExceeded(AweighError):
    code, kind = "deadline-exceeded", Kind.TIMEOUT


class Cancelled(AweighError):
    code, kind = "cancelled", Kind.CANCELLED


class InternalError(AweighError):
    code, kind = "internal", Kind.INTERNAL


def all_errors() -> list[type[AweighError]]:
    """Every class of the tree, parents first; the edges' tables and the docs are tested against it."""
    found: list[type[AweighError]] = [AweighError]
    for cls in found:
        found.extend(cls.__subclasses__())
    return found


def from_dict(data: dict[str, object]) -> AweighError:
    """Rebuild an error that crossed a process boundary as text (`as_dict`); an unknown code becomes `InternalError`."""
    by_code = {cls.code: cls for cls in all_errors()}
    cls = by_code.get(str(data.get("code")), InternalError)
    context = data.get("context")
    error = cls(str(data.get("message", "")), hint=str(data.get("hint", "")))
    # Set afterwards: names from another process must not be taken for parameters.
    error.context = {str(name): value for name, value in context.items()} if isinstance(context, dict) else {}
    return error

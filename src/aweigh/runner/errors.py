"""The one error that whoever asks is to see: an HTTP status, a stable code, a message and the next step. The codes are those of `aweigh.core.errors`."""


class Refusal(Exception):  # named for what it is, as in core
    """An answer that is an error."""

    def __init__(self, message: str, *, hint: str = "", status: int = 400, code: str = "invalid-input") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def too_large(message: str, hint: str = "") -> Refusal:
    """More bytes, rows or elements than a limit allows."""
    return Refusal(message, hint=hint, status=413, code="too-large")


def not_found(message: str, hint: str = "") -> Refusal:
    """What was named is not there."""
    return Refusal(message, hint=hint, status=404, code="not-found")


def unsupported(message: str, hint: str = "") -> Refusal:
    """Valid, but nothing that the runner can do."""
    return Refusal(message, hint=hint, status=501, code="unsupported")


def broken(message: str, hint: str = "") -> Refusal:
    """A bundle that cannot be started, or a model that failed."""
    return Refusal(message, hint=hint, status=500, code="internal")

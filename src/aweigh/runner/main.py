"""What the entry does with its arguments: serve, answer once, or answer Lambda's events. Exit codes are aweigh's: 0, 1 refused, 2 wrong use, 4 unavailable."""

from __future__ import annotations

import sys

from . import jsontext
from .errors import Refusal
from .forms import Forms, setting
from .message import Request
from .start import Parts, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

REFUSED, WRONG_USE, UNAVAILABLE = 1, 2, 4
_DEFAULT_PORT = "8080"
_MAX_PORT = 65535


def _tell(event: str, **fields: Any) -> None:
    """One event as a line of JSON."""
    sys.stderr.write(jsontext.write({"event": event, **fields}).decode() + "\n")
    sys.stderr.flush()


class _Options:
    """The command line and the environment."""

    def __init__(self, words: list[str]) -> None:
        cloud = setting("PORT") or setting("AIP_HTTP_PORT") or setting("SAGEMAKER_BIND_TO_PORT")
        self.port = cloud or _DEFAULT_PORT
        self.host = setting("HOST") or ("0.0.0.0" if cloud or "serve" in words[:1] else "127.0.0.1")  # noqa: S104  # where a platform says the port, it is the way in
        self.once = self.parts = False
        left = words[1:] if words[:1] == ["serve"] else list(words)
        while left:
            word = left.pop(0)
            if word in {"--port", "--host"} and left:
                setattr(self, word[2:], left.pop(0))
            elif word in {"--once", "--parts"}:
                setattr(self, word[2:], True)
            else:
                raise Refusal(f"{word!r} is not understood", hint="run.py [serve] [--port N] [--host H] [--once] [--parts]")
        if not self.port.isascii() or not self.port.isdigit() or int(self.port) > _MAX_PORT:
            raise Refusal(f"port {self.port[:20]!r} is none", hint="--port takes a number up to 65535; 0 is any that is free")


def main(words: list[str], folder: str, began: float, start_s: float) -> int:
    """The exit code."""
    parts = Parts(began, start_s)
    api = setting("AWS_LAMBDA_RUNTIME_API")
    try:
        options = _Options(words)
    except Refusal as error:
        _tell("wrong use", error=error.message, hint=error.hint)
        return WRONG_USE
    try:
        if options.once:
            return _once(folder, parts, options)
        if api:
            return _lambda(folder, parts, api)
        return _serve(folder, parts, options)
    except Refusal as error:
        _tell("refused", error=error.message, hint=error.hint, code=error.code)
        return REFUSED
    except OSError as error:
        _tell("unavailable", error=str(error), address=f"{options.host}:{options.port}")
        return UNAVAILABLE


def _once(folder: str, parts: Parts, options: _Options) -> int:
    forms = Forms(load(folder, parts))
    first, told, status = forms.spec["first"], None, 200
    if first is not None:  # FP16 has no form in JSON: then the golden set is all that is asked
        response = forms.answer(Request("POST", first["path"], {}, jsontext.write(first["body"], tokens=True)))
        parts.end("first answer")
        told, status = jsontext.read(response.body), response.status
    sys.stdout.write(jsontext.write({"parts": parts.told(), **_facts(forms), "answer": told} if options.parts else told).decode() + "\n")
    return 0 if status == 200 else REFUSED


def _facts(forms: Forms) -> dict[str, Any]:
    keys = ("name", "version", "variant", "runtime", "library_version")
    return {key: forms.spec[key] for key in keys} | {"modules": sorted(name for name in sys.modules if "." not in name)}


def _serve(folder: str, parts: Parts, options: _Options) -> int:
    from .server import Server, open_port  # neither of the other ways needs it

    listener = open_port(options.host, int(options.port))
    server = Server(Forms(load(folder, parts)), listener)
    address = listener.getsockname()
    shown = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
    server.run(lambda: _tell("ready", address=shown, parts=parts.told()))
    _tell("ended")
    return 0


def _lambda(folder: str, parts: Parts, address: str) -> int:
    from . import aws_lambda

    try:
        forms = Forms(load(folder, parts))
    except Refusal as error:
        aws_lambda.tell_failed_start(address, error)
        raise
    _tell("ready", parts=parts.told())
    aws_lambda.loop(forms, address)
    return 0


def lambda_handler(folder: str, began: float, start_s: float) -> Callable[[Any, Any], Any]:
    """The handler for AWS's own Python, whose start-up time is spent here. Raises Refusal where the model is not ready."""
    from . import aws_lambda

    parts = Parts(began, start_s)
    forms = Forms(load(folder, parts))
    _tell("ready", parts=parts.told())

    def handler(event: Any, _context: object) -> Any:
        return aws_lambda.handle(forms, event)

    return handler

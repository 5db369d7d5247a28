"""The child's side: the program that an isolated child runs. Caps itself, then imports and calls the target, and answers over the channel.

Started by `process.py` with the number of an inherited socket. Imports little, because every child pays for it. Must never send a pickle.
"""

import contextlib
import ctypes
import faulthandler
import importlib
import os
import signal
import socket
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from aweigh.core.errors import AweighError, InternalError, InvalidInput, MissingLibrary
from aweigh.isolate.channel import START, Caps, Channel, Done, Failed, OutOfMemory, Start, Started, Step, decode, encode
from aweigh.isolate.network import leave_network

_PR_SET_PDEATHSIG: Final = 1
_TRACEBACK_CHARACTERS: Final = 8000
_TRACEBACK_FRAMES: Final = 60
"""A recursion may be a million frames deep."""
_FIRST_TO_GO: Final = "500"


def main() -> None:
    """Run one target for the parent at the other end of the inherited socket, then end."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    for number in (signal.SIGTERM, signal.SIGINT):  # a container or a service sends them to every process: this one ends with its parent
        signal.signal(number, _ignore)  # not SIG_IGN, which what model code starts would inherit
    channel = Channel(connection)
    faulthandler.enable()
    start = START.decode(channel.receive())
    die_with(start.parent)
    channel.send(Started(network_off=cap(start.caps)))
    sys.path.extend(path for path in start.paths if path not in sys.path)
    with contextlib.suppress(ConnectionError):
        answer(channel, start)


def _ignore(number: int, frame: object) -> None:
    """Do nothing."""


def answer(channel: Channel, start: Start) -> None:
    """Call the target and send what came of it. A target of two parameters gets `progress`, one marked `serves_channel` the channel."""
    try:
        function = resolve(start.target)
        argument = decode(start.argument, parameter_type(function))
        if getattr(function, "serves_channel", False):
            function(argument, channel)
            return
        result = function(argument, _progress(channel)) if function.__code__.co_argcount > 1 else function(argument)
        message: Done | Failed | OutOfMemory = Done(result=encode(result))
    except BaseException as error:  # noqa: BLE001  # boundary: whatever the target raises crosses as text
        message = failure(error, start.target)
    channel.send(message)


def failure(error: BaseException, target: str) -> Failed | OutOfMemory:
    """How an exception crosses to the parent, as text that has a form in UTF-8. Never raises: an error that cannot be told still is one."""
    try:
        return _failure(error, target)
    except MemoryError:
        return OutOfMemory()
    except BaseException:  # noqa: BLE001  # boundary: the text of an error is made by the target's code too, and may raise
        told = InternalError(f"{_crossing(type(error).__name__)}: (its text cannot be made)", target=_crossing(target))
        return Failed(error=told.as_dict())


def _failure(error: BaseException, target: str) -> Failed | OutOfMemory:
    if isinstance(error, MemoryError):
        return OutOfMemory()
    if isinstance(error, ModuleNotFoundError):
        error = MissingLibrary(
            f"'{target}' needs the Python module '{error.name}', which is not installed", hint=f"pip install {error.name}"
        )
    if not isinstance(error, AweighError):
        text = "".join(traceback.format_exception(error, limit=-_TRACEBACK_FRAMES))[-_TRACEBACK_CHARACTERS:]
        said = str(error) or "(no text)"
        error = InternalError(f"{type(error).__name__}: {said}", target=target, exception=type(error).__name__, traceback=text)
    told = error.as_dict()
    context = typing.cast("dict[str, str]", told["context"])
    return Failed(
        error={name: _crossing(text) for name, text in told.items() if name != "context"}
        | {"context": {_crossing(name): _crossing(text) for name, text in context.items()}}
    )


def _crossing(value: object) -> str:
    """A text without what UTF-8 has no form for (halves of surrogate pairs, which stand for the odd bytes of file names): escaped."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def resolve(target: str) -> Callable[..., Any]:
    """Import `module:function`. Raises InvalidInput when there is no such thing."""
    module, colon, name = target.partition(":")
    function = getattr(importlib.import_module(module), name, None) if colon else None
    if not callable(function):
        raise InvalidInput(f"{target!r} is no 'module:function' that can be called")
    return typing.cast("Callable[..., Any]", function)


def parameter_type(function: Callable[..., Any]) -> Any:
    """The annotation of the first parameter, into which the argument is read; Any without one."""
    hints = typing.get_type_hints(function)
    names = function.__code__.co_varnames[: function.__code__.co_argcount] if hasattr(function, "__code__") else ()
    return hints.get(names[0], Any) if names else Any


def _progress(channel: Channel) -> Callable[..., None]:
    def progress(step: str, done: int = 0, total: int = 0) -> None:
        channel.send(Step(step=_crossing(step), done=done, total=total))

    return progress


def die_with(parent: int) -> None:
    """Be killed when the thread that started this process ends (the launcher thread lives as long as the parent). Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


def cap(caps: Caps) -> bool:
    """Take memory, core dumps and network away. True when the network is gone."""
    if sys.platform == "win32":
        return False
    import resource  # there is no such module on Windows

    with contextlib.suppress(OSError):  # where memory runs out all the same, the system is to end the child, not the server
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if caps.memory_bytes:
        above = resource.getrlimit(resource.RLIMIT_AS)[1]  # of a child of a capped child
        limit = caps.memory_bytes if above == resource.RLIM_INFINITY else min(caps.memory_bytes, above)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return not caps.network and leave_network()


if __name__ == "__main__":
    main()

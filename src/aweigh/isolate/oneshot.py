"""`call`: run one function in a capped child of its own and hand back its result. Used by `packing` for every first parse."""

import dataclasses
from collections.abc import Sequence
from time import monotonic
from typing import Final, Generic, TypeVar

import msgspec

from aweigh.core.errors import AweighError, InternalError, from_dict
from aweigh.core.protocols import Progress, quiet
from aweigh.isolate.channel import FROM_CHILD, Caps, Done, Failed, OutOfMemory, Started, Step, decode
from aweigh.isolate.process import HERE, ChildProcess, Home

T = TypeVar("T")
DEFAULT_CAPS: Final = Caps()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report(Generic[T]):
    """What a child answered, and how well it was shut in."""

    result: T
    network_off: bool
    """Whether the network was really taken away (it needs Linux and user namespaces, or root)."""


def call(
    target: str,
    argument: object,
    result_type: type[T],
    *,
    caps: Caps = DEFAULT_CAPS,
    progress: Progress = quiet,
    paths: Sequence[str] = (),
    home: Home = HERE,
) -> T:
    """Run `target` ("module:function") on `argument` in a child and read what it returns as `result_type`.

    The function takes the argument (read into the type of its first parameter) and, if it has a second parameter, a `Progress`. Argument and
    result are structs or JSON-like values; files go by path. `paths` are added to the end of the child's `sys.path`, `home` is the environment it runs in. Raises what the
    function raised (an AweighError as itself, anything else as InternalError), ChildDied, DeadlineExceeded.
    """
    return call_reporting(target, argument, result_type, caps=caps, progress=progress, paths=paths, home=home).result


def call_reporting(
    target: str,
    argument: object,
    result_type: type[T],
    *,
    caps: Caps = DEFAULT_CAPS,
    progress: Progress = quiet,
    paths: Sequence[str] = (),
    home: Home = HERE,
) -> Report[T]:
    """As `call`, and tell whether the network was off."""
    child = ChildProcess(target, argument, caps, paths, home=home)
    try:
        return _converse(child, result_type, progress)
    finally:
        child.close()


def _converse(child: ChildProcess, result_type: type[T], progress: Progress) -> Report[T]:
    deadline = monotonic() + child.caps.timeout_s
    network_off = False
    try:
        child.channel.send(child.start, deadline=deadline)
        while True:
            message = FROM_CHILD.decode(child.channel.receive(deadline=deadline))
            if isinstance(message, Step):
                progress(message.step, message.done, message.total)
            elif isinstance(message, Started):
                network_off = message.network_off
            elif isinstance(message, Done):
                return Report(result=decode(message.result, result_type), network_off=network_off)
            else:
                raise raised(child, message)
    except (ConnectionError, TimeoutError) as error:
        raise child.why(error, limit_s=child.caps.timeout_s) from error
    except msgspec.DecodeError as error:
        raise InternalError(f"the child of '{child.target}' answered what was not expected: {error}", target=child.target) from error


def raised(child: ChildProcess, message: Failed | OutOfMemory) -> AweighError:
    """The error that a child reported."""
    return child.out_of_memory() if isinstance(message, OutOfMemory) else from_dict(message.error)

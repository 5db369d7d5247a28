"""`Here`: stands for a `Worker` where this process is itself the isolated child, so that what it opens needs no further process."""

from typing import Any

import msgspec

from aweigh.core.tensors import Tensor, Tensors
from aweigh.isolate.channel import decode, encode
from aweigh.isolate.child import parameter_type, resolve
from aweigh.isolate.serving import Handler


class Here:
    """Opens `target` in this process and asks it directly. Raises what opening raises, and what the target raises. Never in the server."""

    def __init__(self, target: str, argument: object) -> None:
        function = resolve(target)
        self._handler: Handler = function(decode(encode(msgspec.to_builtins(argument)), parameter_type(function)))

    def request(self, header: dict[str, Any], tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As `Worker.request`; for one caller at a time."""
        said, answers = self._handler(header, tensors)
        return said, dict(answers)

    def close(self) -> None:
        """The process ends with what it holds."""

"""ExecuTorch as a runtime: a .pte program, in a process of its own, so that a crash of its C++ never reaches the server. Phones load the same file with the same code.

Options of a variant: `input:NAME` and `output:NAME`, the places of the program's tensors, which it has no names for.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from aweigh.core.errors import FileMissing, InvalidFile
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.isolate import Caps, Here, Worker
from aweigh.runtimes.worker_session import WorkerSession

_TARGET: Final = "aweigh.runtimes.executorch_process:open_session"
_MARK: Final = b"ET12"


class ExecutorchRuntime:
    """Loads `variant.files[0]`."""

    name = "executorch"

    def __init__(self, *, session_threads: int = 1, in_child: bool = False) -> None:
        self._caps = Caps(threads=session_threads)
        self._in_child = in_child

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Start the process and load there. Raises InvalidFile, FileMissing, ChildDied, DeadlineExceeded."""
        if not variant.files:
            raise InvalidFile(f"variant '{variant.name}' lists no file to load")
        file = path(variant.files[0]).absolute()
        _check(file)
        places = {name: at for name, at in variant.options.items() if name.startswith(("input:", "output:"))}
        opening = {"file": str(file), "signature": signature, "places": places}
        worker = Here(_TARGET, opening) if self._in_child else Worker(_TARGET, opening, caps=self._caps)
        return WorkerSession(worker, signature)


def _check(file: Path) -> None:
    """Raise for what does not even begin as a program: the library's own reader sees no other bytes."""
    try:
        with file.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise FileMissing(f"{file.name} cannot be read: {error.strerror}", hint="the package is damaged: pack or pull it again") from error
    if head[4:8] != _MARK:
        raise InvalidFile(f"{file.name} is no ExecuTorch program", hint="make it again with 'aweigh optimize'")

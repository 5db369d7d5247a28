"""PyTorch as a runtime: exported programs (`.pt2`) and TorchScript, or a person's own module with its weights, in a process of their own, so that a crash or a leak
never reaches the server."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from aweigh.core.errors import FileMissing, InvalidFile
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.isolate import Caps, Here, Worker
from aweigh.runtimes.files import copy_out
from aweigh.runtimes.worker_session import WorkerSession

_PROGRAM: Final = "aweigh.runtimes.torch_process:open_session"
_EAGER: Final = "aweigh.runtimes.torch_eager_process:open_session"
FACTORY: Final = "factory"
"""The variant's option: what makes the module, as module:factory."""
CODE: Final = "variants/torch-eager/code"
"""Where a package holds the module's code."""


class TorchRuntime:
    """Loads `variant.files[0]`, which is judged again before it is loaded."""

    name = "torch"

    def __init__(self, *, session_threads: int = 1, in_child: bool = False, caps: Caps | None = None) -> None:
        self._threads = session_threads
        self._caps = caps or Caps(threads=session_threads)
        self._in_child = in_child

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Start the process and load there. Raises InvalidFile, NotTrusted, MissingLibrary, ChildDied, DeadlineExceeded."""
        return WorkerSession(self._worker(_PROGRAM, {"file": str(_entry(variant, path))}, signature), signature)

    def _worker(self, target: str, opening: dict[str, Any], signature: Signature) -> Worker | Here:
        told = {**opening, "signature": signature, "threads": self._threads}
        return Here(target, told) if self._in_child else Worker(target, told, caps=self._caps)


class TorchEagerRuntime(TorchRuntime):
    """Makes the module that the option `factory` names, from the code among the variant's files, and gives it the weights of `variant.files[0]`. Runs that code."""

    name = "torch-eager"

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Start the process and load there. Raises InvalidFile for whatever the code raises, MissingLibrary, ChildDied, DeadlineExceeded."""
        weights = _entry(variant, path)
        folder = Path(tempfile.mkdtemp(prefix="aweigh-torch-"))
        try:
            copy_out(variant.files[1:], path, folder, root=CODE)
            opening = {"weights": str(weights), "folder": str(folder), "factory": str(variant.options.get(FACTORY, ""))}
            return _EagerSession(self._worker(_EAGER, opening, signature), signature, folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise FileMissing(f"the code of variant '{variant.name}' cannot be laid out: {error}", hint="pack the model again") from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _entry(variant: Variant, path: Callable[[str], Path]) -> Path:
    if not variant.files:
        raise InvalidFile(f"variant '{variant.name}' lists no file to load")
    return path(variant.files[0]).absolute()


class _EagerSession(WorkerSession):
    """With the folder that the class's code was laid out in."""

    def __init__(self, worker: Worker | Here, signature: Signature, folder: Path) -> None:
        super().__init__(worker, signature)
        self._folder = folder

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)

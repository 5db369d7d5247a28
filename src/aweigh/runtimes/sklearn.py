"""scikit-learn as a runtime: the estimator itself, in a process of its own, so that a crash or a leak of it never reaches the server.

Options of a variant: see `sklearn_estimator`; `trusted_types` (separated by spaces) for a skops file.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from aweigh.core.errors import FileMissing, InvalidFile
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.isolate import Caps, Here, Worker
from aweigh.runtimes.worker_session import WorkerSession


class SklearnRuntime:
    """Loads `variant.files[0]`, a joblib, pickle or skops file that packing has judged."""

    name = "sklearn"

    def __init__(self, *, session_threads: int = 1, in_child: bool = False, caps: Caps | None = None) -> None:
        self._caps = caps or Caps(threads=session_threads)
        self._in_child = in_child

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Start the process and load there. Raises InvalidFile, MissingLibrary, NotTrusted, ChildDied, DeadlineExceeded."""
        if not variant.files:
            raise InvalidFile(f"variant '{variant.name}' lists no file to load")
        file = path(variant.files[0]).absolute()
        opening = {"file": str(file), "signature": signature, "options": variant.options}
        target = f"aweigh.runtimes.{_process_for(file)}:open_session"
        if self._in_child:
            return WorkerSession(Here(target, opening), signature)
        paths = [place for place in sys.path if place]  # so that an estimator of the caller's own modules is found there too
        return WorkerSession(Worker(target, opening, caps=self._caps, paths=paths), signature)


def _process_for(file: Path) -> str:
    """By content: a skops file is a zip, a joblib or pickle file is not."""
    try:
        with file.open("rb") as stream:
            return "skops_process" if stream.read(4) == b"PK\x03\x04" else "sklearn_process"
    except OSError as error:
        raise FileMissing(f"{file} cannot be read: {error.strerror}") from error

"""Any runtime in a process of its own: the child loads the variant there, hooks included, and answers through shared memory.

Called by the engine, which keeps several such children and restarts them, and as an ordinary `Runtime` by whoever wants one session apart.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from aweigh.core.errors import AweighError, InternalError
from aweigh.core.package import FORMAT_VERSION, PackageManifest, Provenance, Variant
from aweigh.core.plugins import plugin
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.isolate import Caps, Home, Lane, Worker
from aweigh.isolate.process import HERE, caller_paths

_TARGET: Final = "aweigh.runtimes.session_process:open_session"


class ProcessRuntime:
    """Loads with the variant's own runtime, in a child."""

    name = "process"

    def __init__(self, *, session_threads: int = 1, caps: Caps | None = None, home: Home = HERE) -> None:
        self._caps = caps or Caps(threads=session_threads)
        self._home = home

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Start a child and load there. Raises what the runtime raises, ChildDied, DeadlineExceeded."""
        manifest = PackageManifest(
            format_version=FORMAT_VERSION, signature=signature, variants=(variant,), golden=(), provenance=Provenance(framework="")
        )
        return ProcessSession(manifest, variant, path, caps=self._caps, home=self._home)


class ProcessSession:
    """A variant of a package with its hooks, in a child. Raises what loading it raises, ChildDied, DeadlineExceeded.

    `name` is the model's, for messages; `home` where the child finds the runtime's libraries; threads inside one call are those of `caps`. `run` waits for the answer and starts a dead child again. `start` gives further children of the same kind to whoever looks after them.
    """

    concurrent = False
    isolated = True

    def __init__(
        self,
        manifest: PackageManifest,
        variant: Variant,
        path: Callable[[str], Path],
        *,
        caps: Caps | None = None,
        name: str = "",
        home: Home = HERE,
    ) -> None:
        caps = caps or Caps()
        subject = f"model '{name}'" if name else f"variant '{variant.name}'"
        self.timeout_s = caps.timeout_s
        self._outputs = [(spec.name, spec.datatype.dtype) for spec in manifest.signature.outputs]
        self._scratch = tempfile.mkdtemp(prefix="aweigh-process-")
        try:
            files = {file: str(path(file).absolute()) for file in (*variant.files, *manifest.hooks.files)}
            opening = {
                # what the child does not need does not travel: evidence and golden set may be large
                "manifest": msgspec.structs.replace(
                    manifest, variants=(msgspec.structs.replace(variant, evidence=None),), golden=(), files=()
                ),
                "files": files,
                "scratch": self._scratch,
                "session_threads": caps.threads,
                "environments": home.environments,
            }
            keeps = runs_code(manifest, variant)
            self._worker = Worker(
                _TARGET, opening, caps=caps, paths=caller_paths(elsewhere=bool(home.code)), keeps_inputs=keeps, subject=subject, home=home
            )
        except BaseException:
            self._clear()
            raise

    @property
    def pid(self) -> int | None:
        """Of the child that `run` asks; None between its death and the next call."""
        return self._worker.pid

    def run(self, inputs: Tensors) -> list[Tensor]:
        return self.outputs(self._worker.request({}, inputs)[1])

    def outputs(self, answered: dict[str, Tensor]) -> list[Tensor]:
        """What a child answered, in the signature's order. Raises InternalError where it is not what the signature promises."""
        found: list[Tensor] = []
        for name, dtype in self._outputs:
            tensor = answered.get(name)
            if tensor is None or tensor.dtype != dtype:
                what = "nothing" if tensor is None else str(tensor.dtype)
                raise InternalError(f"the model's process gave {what} for output '{name}', which is {dtype}")
            found.append(tensor)
        return found

    def on(self, lane: Lane) -> Session:
        """A session over one particular child, for whoever proves it."""
        return _OnLane(self, lane)

    def start(self) -> Lane:
        """One more child, which belongs to the caller."""
        return self._worker.start()

    def detach(self) -> Lane | None:
        """The first child, which belongs to the caller from now on."""
        return self._worker.detach()

    def close(self) -> None:
        self._worker.close()
        self._clear()

    def _clear(self) -> None:
        with contextlib.suppress(OSError):
            shutil.rmtree(self._scratch, ignore_errors=True)


class _OnLane:
    concurrent = False
    isolated = True

    def __init__(self, session: ProcessSession, lane: Lane) -> None:
        self._session = session
        self._lane = lane

    def run(self, inputs: Tensors) -> list[Tensor]:
        self._lane.ask({}, inputs)
        answer = self._lane.wait(monotonic() + self._session.timeout_s)
        if isinstance(answer, AweighError):
            raise answer
        return self._session.outputs(answer[1])

    def close(self) -> None:
        """The child belongs to whoever started it."""


def runs_code(manifest: PackageManifest, variant: Variant) -> bool:
    """Whether loading or running the variant may run code that came with the package. Raises Unsupported for a runtime that is not known."""
    return bool(manifest.hooks.pre or manifest.hooks.post) or plugin("runtime", variant.runtime).runs_code

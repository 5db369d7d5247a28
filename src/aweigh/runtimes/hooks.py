"""Hooks of a package around its session: `pre` on the request's tensors, `post` on the model's. Called by whoever loads a variant to answer.

The Python of a package never runs in the server: both hooks live in one capped child, where two versions of a package may bring modules of one
name and a hook that hangs is killed.
"""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from aweigh.core.errors import AweighError, InternalError, InvalidFile
from aweigh.core.package import Hooks, PackageManifest, Variant
from aweigh.core.protocols import Session
from aweigh.core.tensors import Tensor, Tensors
from aweigh.isolate import Caps, Environments, Here, Worker
from aweigh.runtimes import load_session

_ROOT: Final = "hooks"
_TARGET: Final = "aweigh.runtimes.hooks_process:open_hooks"


def load_variant(
    manifest: PackageManifest,
    variant: Variant,
    path: Callable[[str], Path],
    *,
    session_threads: int = 1,
    in_child: bool = False,
    environments: Environments | None = None,
) -> Session:
    """The session of a package's variant as its clients see it: hooks included. Raises what `load_session` and `with_hooks` raise."""
    session = load_session(
        variant, manifest.session_signature, path, session_threads=session_threads, in_child=in_child, environments=environments
    )
    try:
        return with_hooks(session, manifest.hooks, path, in_child=in_child)
    except AweighError:
        session.close()
        raise


def with_hooks(session: Session, hooks: Hooks, path: Callable[[str], Path], *, caps: Caps | None = None, in_child: bool = False) -> Session:
    """The session with the hooks around it; itself when there are none. `in_child`: this process is already one that may run them.

    Raises InvalidInput where a hook cannot be loaded.
    """
    if not hooks.pre and not hooks.post:
        return session
    if hooks.model_signature is None:
        raise InvalidFile("the package has hooks but does not say what its model takes", hint="pack the model again")
    folder = tempfile.mkdtemp(prefix="aweigh-hooks-")
    try:
        _lay_out(hooks.files, path, Path(folder))
        opening = {"folder": folder, "pre": hooks.pre, "post": hooks.post}
        worker: Worker | Here
        if in_child:
            worker = Here(_TARGET, opening)
        else:
            worker = Worker(_TARGET, opening, caps=caps or Caps(), paths=[folder, *(place for place in sys.path if place)])
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return _HookedSession(session, hooks, worker, folder)


def _lay_out(files: tuple[str, ...], path: Callable[[str], Path], folder: Path) -> None:
    """Copy the hooks' files under the names that their imports use, whatever the store calls them."""
    for file in files:
        parts = PurePosixPath(file).parts
        if len(parts) < 2 or parts[0] != _ROOT or any(part in {"..", "."} for part in parts):
            raise InvalidFile(f"hook file {file!r} lies outside {_ROOT}/", hint="pack the model again")
        place = folder.joinpath(*parts[1:])
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path(file), place)


class _HookedSession:
    concurrent = False
    isolated = True

    def __init__(self, session: Session, hooks: Hooks, worker: Worker | Here, folder: str) -> None:
        self._session = session
        self._hooks = hooks
        self._worker = worker
        self._folder = folder
        self._names = [spec.name for spec in hooks.model_signature.outputs] if hooks.model_signature else []

    def run(self, inputs: Tensors) -> list[Tensor]:
        given = self._worker.request({"hook": "pre"}, inputs)[1] if self._hooks.pre else inputs
        if self._hooks.pre and self._hooks.model_signature is not None:
            self._hooks.model_signature.check(given)
        outputs = self._session.run(given)
        if not self._hooks.post:
            return outputs
        answered = self._worker.request({"hook": "post"}, dict(zip(self._names, outputs, strict=True)))[1]
        missing = [name for name in self._hooks.outputs if name not in answered]
        if missing:
            raise InternalError(f"the hook {self._hooks.post} gave no '{missing[0]}'", hint="a hook must always give the same names")
        return [answered[name] for name in self._hooks.outputs]

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            stack.callback(self._worker.close)
            self._session.close()

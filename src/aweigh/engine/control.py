"""Loading and unloading while the server runs: a new version is loaded beside the old one and takes over when it may answer.

Called by the dialects on the event loop. Whatever takes time (reading, loading, replaying, closing) happens on one thread of its own.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Protocol

from aweigh.core.errors import AweighError, Conflict, Denied, InternalError, ModelNotFound
from aweigh.core.names import check_asked
from aweigh.core.protocols import PackageHandle
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel

_LOG = logging.getLogger("aweigh.server")
_DRAIN_ROUND_S: Final = 0.02
Done = Callable[[Any, AweighError | None], None]
"""Called on the event loop with the outcome or the error."""


class Repository(Protocol):
    """Where versions are found; `app` makes one of the store."""

    def versions(self) -> list[tuple[str, int]]:
        """Name and number of every version there is."""
        ...

    def open(self, name: str, version: int | None) -> PackageHandle:
        """One version, the newest where none is said. Raises ModelNotFound, InvalidName."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IndexLine:
    """One version in the repository. `state` is READY, LOADING, UNLOADING or UNAVAILABLE."""

    name: str
    version: str
    state: str
    reason: str


class ModelControl:
    """Changes what a data plane serves. One load at a time; `allowed` is False where the settings say so."""

    def __init__(
        self, dataplane: DataPlane, repository: Repository, load: Callable[[PackageHandle], LoadedModel], *, allowed: bool
    ) -> None:
        self._dataplane = dataplane
        self._repository = repository
        self._load = load
        self._allowed = allowed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aweigh-load")
        self._loading: str = ""
        self._retiring: set[LoadedModel] = set()

    def index(self, done: Done, *, ready_only: bool = False) -> None:
        """Every version of the repository, and what is served although it is not there."""
        self._aside(self._repository.versions, lambda found, error: done(None if error else self._lines(found, ready_only), error))

    def load(self, name: str, version: int | None, done: Done) -> None:
        """Load a version and let it take over its name. Raises Denied, Conflict while another load is under way."""
        self.check_allowed()
        if self._loading:
            raise Conflict(f"model '{self._loading}' is being loaded", hint="one load at a time: try again when it is done")
        self.prepare(name, version, partial(self._loaded, done))

    def prepare(self, name: str, version: int | None, done: Done) -> None:
        """Load a version beside what is served; `done` gets the model, which is to be given to `take_over` or `discard`."""
        self._loading = name
        self._aside(lambda: self._load(self._repository.open(name, version)), partial(self._prepared, done))

    def take_over(self, model: LoadedModel) -> None:
        """Let a prepared model answer; what it takes over from ends when it has answered what it took."""
        for old in self._dataplane.replace(model):
            self._retire(old)
        _LOG.info("model ready", extra={"model": model.name, "version": model.version, "digest": model.digest})

    def discard(self, model: LoadedModel) -> None:
        """Let go of a prepared model that never answered."""
        self._aside(model.close, _ignore)

    def remove(self, name: str) -> list[str]:
        """Take every version of a name out of service; their numbers. They end when they have answered what they took."""
        removed = self._dataplane.remove(name)
        for model in removed:
            self._retire(model)
        if removed:
            _LOG.info("model unloaded", extra={"model": name, "versions": [model.version for model in removed]})
        return [model.version for model in removed]

    def unload(self, name: str, done: Done) -> None:
        """Take every version of a name out of service; they end when they have answered what they took. Raises Denied, ModelNotFound."""
        self.check_allowed()
        if not self.remove(name):
            check_asked(name)
            raise ModelNotFound(f"failed to unload '{name}', no version is available", hint="the repository index lists what is loaded")
        asyncio.get_running_loop().call_soon(done, None, None)  # never before this returns: the caller is not waiting yet

    def drop(self, model: LoadedModel) -> None:
        """Take one version out of service; it ends when it has answered what it took."""
        self._dataplane.drop(model)
        self._retire(model)

    def close(self) -> None:
        """Wait for the thread, and release what was still draining."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        for model in self._retiring:
            model.close()
        self._retiring.clear()

    def check_allowed(self) -> None:
        """Raises Denied where the settings do not let clients load and unload."""
        if not self._allowed:
            raise Denied("explicit model load / unload is not allowed", hint="set model_control, or serve with an api_key_file")

    def _aside(self, work: Callable[[], Any], then: Done) -> None:
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        future.add_done_callback(partial(_deliver, then))

    def _prepared(self, done: Done, model: LoadedModel | None, error: AweighError | None) -> None:
        self._loading = ""
        done(model, error)

    def _loaded(self, done: Done, model: LoadedModel | None, error: AweighError | None) -> None:
        if model is not None:
            self.take_over(model)
        done(None, error)

    def _retire(self, model: LoadedModel) -> None:
        """Close a model once nothing is under way on it, or the drain's time is up."""
        self._retiring.add(model)
        loop = asyncio.get_running_loop()
        self._drain(model, loop.time() + self._dataplane.settings.drain_timeout_s)

    def _drain(self, model: LoadedModel, until: float) -> None:
        loop = asyncio.get_running_loop()
        if (model.statistics.in_flight or model.statistics.turns) and loop.time() < until:
            loop.call_later(_DRAIN_ROUND_S, self._drain, model, until)
        elif model in self._retiring:
            self._retiring.discard(model)
            model.refuse()
            self._aside(model.close, _ignore)

    def _lines(self, stored: list[tuple[str, int]], ready_only: bool) -> list[IndexLine]:
        states = {(str(model.name), model.version): "UNLOADING" for model in self._retiring}
        served = list(self._dataplane.models())
        states |= {(str(model.name), model.version): "READY" if model.ready else "UNAVAILABLE" for model in served}
        dying = {(str(model.name), model.version) for model in served if not model.ready}
        lines = []
        for key in sorted({(name, str(version)) for name, version in stored} | set(states)):
            state = states.get(key) or ("LOADING" if key[0] == self._loading else "UNAVAILABLE")
            if state == "READY" or not ready_only:
                reason = "its process keeps dying" if key in dying else "unloaded" if state == "UNAVAILABLE" else ""
                lines.append(IndexLine(name=key[0], version=key[1], state=state, reason=reason))
        return lines


def _ignore(outcome: Any, error: AweighError | None) -> None:
    """For what nobody waits for."""


def _deliver(then: Done, future: "asyncio.Future[Any]") -> None:
    if future.cancelled():
        return
    error = future.exception()
    if error is None:
        then(future.result(), None)
    elif isinstance(error, AweighError):
        then(None, error)
    else:
        _LOG.error("the repository failed", exc_info=error)
        then(None, InternalError("the server failed to do this", hint="the server's log has more"))

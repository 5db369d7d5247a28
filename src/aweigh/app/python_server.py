"""`aweigh.Server`: a server as an object, in a thread of this process or, with several workers, in processes that this one supervises."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Protocol, Self

from aweigh.app.models import model_to_load
from aweigh.app.supervise import make_supervisor
from aweigh.core.errors import AweighError, Conflict, Unavailable
from aweigh.core.fallback import check_fallbacks
from aweigh.core.protocols import PackageHandle
from aweigh.core.settings import Settings, read_settings
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.lifecycle import load_model
from aweigh.engine.pipelines.pool import Pool
from aweigh.serve.guard import make_authoriser
from aweigh.serve.server import HttpServer
from aweigh.serve.sockets import bind

_START_TIMEOUT_S: Final = 30.0
_STOP_SLACK_S: Final = 5.0


class _Doors(Protocol):
    """What answers: one process or several."""

    def add(self, handle: PackageHandle, variant: str) -> None: ...
    def open(self) -> int:
        """Take the port; returns it."""
        ...

    async def run(self, stop: asyncio.Event, started: Callable[[], None]) -> None: ...
    def close(self) -> None: ...


class Server:
    """A server in a thread of this process: `with aweigh.Server(port=0).add("fraud") as server: ... server.url`.

    `workers=N` serves from N processes instead, which end with this one.
    """

    def __init__(self, **settings: object) -> None:
        self._settings = read_settings(settings, parameters=())[0]
        self._doors: _Doors = _Workers(self._settings) if self._settings.workers > 1 else _Here(self._settings)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it answers, REST and gRPC alike."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self.port}"

    def add(self, name: str, *, variant: str = "") -> Self:
        """Load a package and let it answer. Raises what loading raises; Conflict once the server has started."""
        if self._thread is not None:
            raise Conflict("the server has started", hint="add models before start()")
        self._doors.add(model_to_load(self._settings, name, variant=variant), variant)
        return self

    def start(self) -> Self:
        """Listen, and return when the first request can be answered. Raises PortInUse, and with workers what loading raises."""
        self.port = self._doors.open()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), name="aweigh-server", daemon=True)
        self._thread.start()
        within_s = _START_TIMEOUT_S if self._settings.workers == 1 else self._settings.load_timeout_s or None
        if not started.wait(within_s):
            raise Unavailable(f"the server did not start within {within_s:g} s")
        if self._error is not None:
            raise self._error
        return self

    def _serve(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._run(started))
        except AweighError as error:
            self._error = error
        finally:
            started.set()

    async def _run(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await self._doors.run(self._stop, started.set)

    def stop(self) -> None:
        """Drain, stop listening and release the models; may be called twice."""
        if self._thread is not None and self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(self._settings.drain_timeout_s + self._settings.drain_delay_s + _STOP_SLACK_S)
        self._doors.close()

    def __enter__(self) -> Self:
        return self if self._thread is not None else self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class _Here:
    """In this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._dataplane = DataPlane(settings)
        self._pool = Pool()
        self._server: HttpServer | None = None

    def add(self, handle: PackageHandle, variant: str) -> None:
        self._dataplane.add(load_model(handle, self._settings, variant=variant, pool=self._pool))

    def open(self) -> int:
        check_fallbacks(self._settings, [(model.name, model.signature) for model in self._dataplane.models()])
        self._server = HttpServer(self._dataplane)
        return self._server.bind()

    async def run(self, stop: asyncio.Event, started: Callable[[], None]) -> None:
        if self._server is not None:
            await self._server.start()
            self._dataplane.started = True
            started()
            await stop.wait()
            await self._server.stop()

    def close(self) -> None:
        self._dataplane.close()


class _Workers:
    """In processes of their own, which die with the thread that supervises them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._handles: list[PackageHandle] = []
        self._variant = ""
        self._listening: Any = None

    def add(self, handle: PackageHandle, variant: str) -> None:
        if self._handles and variant != self._variant:
            raise Conflict(
                "with several workers all models are served by one choice of variant", hint="leave variant out, or use one worker"
            )
        self._handles.append(handle)
        self._variant = variant

    def open(self) -> int:
        make_authoriser(self._settings)
        self._listening = bind(self._settings)
        return int(self._listening.getsockname()[1])

    async def run(self, stop: asyncio.Event, started: Callable[[], None]) -> None:
        supervisor = make_supervisor(self._settings, self._handles, self._listening, self._variant)
        stopping = asyncio.ensure_future(self._drain_at(stop, supervisor.drain))
        try:
            await supervisor.run(lambda _: started())
        finally:
            stopping.cancel()

    async def _drain_at(self, stop: asyncio.Event, drain: Callable[[], None]) -> None:
        await stop.wait()
        drain()

    def close(self) -> None:
        if self._listening is not None:
            self._listening.close()

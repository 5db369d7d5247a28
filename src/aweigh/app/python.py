"""The Python interface: `aweigh.load`, `aweigh.Server`, `aweigh.asgi`. The same wiring as the command line's, as objects.

`aweigh.pack` stands apart (`python_pack`): it brings the converters, which serving never needs.
"""

import asyncio
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np

from aweigh.app.models import open_model
from aweigh.app.predict import predict_columns, predict_rows, predict_tensors
from aweigh.core.errors import AweighError, Conflict, InvalidInput, Unavailable
from aweigh.core.frames import frame_columns
from aweigh.core.settings import Settings, read_settings
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.lifecycle import load_model
from aweigh.engine.model import LoadedModel
from aweigh.serve.asgi import AsgiApplication
from aweigh.serve.guard import Authoriser
from aweigh.serve.server import HttpServer, make_dispatcher

_START_TIMEOUT_S = 30.0


def _settings(given: Mapping[str, object]) -> Settings:
    return read_settings(given)[0]


def load(name: str, *, variant: str = "", **settings: object) -> "Model":
    """Load a package (`name`, `name:version`, `name@alias`, or a model file) into this process, golden replay included.

    >>> model = aweigh.load("iris")
    >>> model.predict(X.head(2))["label"].tolist()
    [0, 0]
    """
    chosen = _settings(settings)
    return Model(load_model(open_model(chosen, name), chosen, variant=variant))


class Model:
    """A package loaded into this process. Use it as a context manager, or `close()` it."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded

    @property
    def name(self) -> str:
        return self._loaded.name

    @property
    def version(self) -> str:
        return self._loaded.version

    @property
    def signature(self) -> Signature:
        return self._loaded.signature

    def predict(self, data: Any) -> Any:
        """Answer a DataFrame (gives a DataFrame with the same index), a list of rows (gives a list of rows), or a 2-d array (gives a DataFrame's columns as a dict).

        Answer columns: `label` and `probability_<class>` for a classifier, `prediction` for a regressor, else the outputs' own names.
        Raises InvalidInput naming the column and row that do not fit.
        """
        if hasattr(data, "columns") and hasattr(data, "index"):
            columns = {str(name): data[name].tolist() for name in data.columns}
            return type(data)(predict_columns(self._loaded, columns).columns, index=data.index)
        if isinstance(data, list) and data and isinstance(data[0], Mapping):
            answer = predict_rows(self._loaded, data).columns
            return [dict(zip(answer, row, strict=True)) for row in zip(*answer.values(), strict=True)]
        return predict_columns(self._loaded, self._columns_of_array(data)).columns

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Answer named tensors with named tensors, as Open Inference does. Raises InvalidInput."""
        outputs = predict_tensors(self._loaded, {name: np.asarray(tensor) for name, tensor in inputs.items()})
        return {spec.name: output for spec, output in zip(self.signature.outputs, outputs, strict=True)}

    def _columns_of_array(self, data: Any) -> dict[str, list[Any]]:
        array = np.asarray(data)
        columns = frame_columns(self.signature)
        if array.ndim == 1 and len(columns) == 1:
            array = array.reshape(-1, 1)
        if array.ndim != 2 or array.shape[1] != len(columns):
            raise InvalidInput(
                f"an array of shape {list(array.shape)} is not rows of {len(columns)} columns", hint="one column for each feature"
            )
        return {column.name: array[:, at].tolist() for at, column in enumerate(columns)}

    def close(self) -> None:
        """Release the session."""
        self._loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Server:
    """A server in a thread of this process: `with aweigh.Server(port=0).add("fraud") as server: ... server.url`."""

    def __init__(self, **settings: object) -> None:
        self._settings = _settings(settings)
        self._dataplane = DataPlane(self._settings)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
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
        self._dataplane.add(load_model(open_model(self._settings, name), self._settings, variant=variant))
        return self

    def start(self) -> Self:
        """Listen, and return when the first request can be answered. Raises PortInUse."""
        server = HttpServer(self._dataplane)
        self.port = server.bind()
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(server, started)), name="aweigh-server", daemon=True)
        self._thread.start()
        if not started.wait(_START_TIMEOUT_S):
            raise Unavailable(f"the server did not start within {_START_TIMEOUT_S:g} s")
        return self

    async def _run(self, server: HttpServer, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await server.start()
        self._dataplane.started = True
        started.set()
        await self._stop.wait()
        await server.stop()

    def stop(self) -> None:
        """Drain, stop listening and release the models; may be called twice."""
        if self._thread is not None and self._loop is not None and self._stop is not None:
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:  # the loop has ended
                return
            self._thread.join(self._settings.drain_timeout_s + self._settings.drain_delay_s + 5)
        self._dataplane.close()

    def __enter__(self) -> Self:
        return self if self._thread is not None else self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def asgi(*names: str, **settings: object) -> AsgiApplication:
    """An ASGI application that serves packages, to mount in FastAPI, Starlette or any other: `app.mount("/models", aweigh.asgi("fraud"))`.

    Every REST dialect is there; gRPC needs aweigh's own server. The outer application guards it: no API key is asked for here.
    """
    chosen = _settings(settings)
    dataplane = DataPlane(chosen)
    try:
        for name in names:
            dataplane.add(load_model(open_model(chosen, name), chosen))
    except AweighError:
        dataplane.close()
        raise
    dataplane.started = True
    return AsgiApplication(make_dispatcher(dataplane, Authoriser()), dataplane)

"""The Python interface: `aweigh.load`, `aweigh.asgi`. The same wiring as the command line's, as objects.

`aweigh.Server` has a file of its own (`python_server`), and so has `aweigh.pack` (`python_pack`), which brings the converters.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from aweigh.app.models import model_to_load
from aweigh.app.predict import predict_columns, predict_rows, predict_tensors
from aweigh.app.tables import columns_of_frame
from aweigh.core.arrays import array_of
from aweigh.core.errors import AweighError, InvalidInput
from aweigh.core.frames import frame_columns
from aweigh.core.settings import Settings, read_settings
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.lifecycle import load_model
from aweigh.engine.model import LoadedModel
from aweigh.engine.pipelines.pool import Pool
from aweigh.serve.asgi import AsgiApplication
from aweigh.serve.guard import Authoriser
from aweigh.serve.server import make_dispatcher


def _settings(given: Mapping[str, object], *parameters: str) -> Settings:
    return read_settings(given, parameters=parameters)[0]


def load(name: str, *, variant: str = "", **settings: object) -> "Model":
    """Load a package (`name`, `name:version`, `name@alias`, or a model file) into this process, golden replay included.

    >>> model = aweigh.load("iris")
    >>> model.predict(X.head(2))["label"].tolist()
    [0, 0]
    """
    chosen = _settings(settings, "variant")
    return Model(load_model(model_to_load(chosen, name, variant=variant), chosen, variant=variant))


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
            return type(data)(predict_columns(self._loaded, columns_of_frame(data)).columns, index=data.index)
        if isinstance(data, list) and data and isinstance(data[0], Mapping):
            answer = predict_rows(self._loaded, data).columns
            return [dict(zip(answer, row, strict=True)) for row in zip(*answer.values(), strict=True)]
        return predict_columns(self._loaded, self._columns_of_array(data)).columns

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Answer named tensors with named tensors, as Open Inference does. Raises InvalidInput."""
        outputs = predict_tensors(self._loaded, {name: array_of(tensor) for name, tensor in inputs.items()})
        return {spec.name: output for spec, output in zip(self.signature.outputs, outputs, strict=True)}

    def _columns_of_array(self, data: Any) -> dict[str, list[Any]]:
        array = array_of(data)
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


def asgi(*names: str, **settings: object) -> AsgiApplication:
    """An ASGI application that serves packages, to mount in FastAPI, Starlette or any other: `app.mount("/models", aweigh.asgi("fraud"))`.

    Every REST dialect is there; gRPC needs aweigh's own server. The outer application guards it: no API key is asked for here.
    """
    chosen = _settings(settings)
    dataplane, pool = DataPlane(chosen), Pool()
    try:
        for name in names:
            dataplane.add(load_model(model_to_load(chosen, name), chosen, pool=pool))
    except AweighError:
        dataplane.close()
        raise
    dataplane.started = True
    return AsgiApplication(make_dispatcher(dataplane, Authoriser()), dataplane)

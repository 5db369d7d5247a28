"""From files to a model that has answered its golden set, and how long each part took. The library starts on a thread of its own while Python reads the rest.

Parts, in milliseconds: `start` the interpreter, `fetch` the files of the bundle, `import` modules and library, `load` the model, `replay` the golden set.
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread
from time import perf_counter

from . import jsontext
from .errors import broken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .model import Model

FORMAT = 1
_APIS = {"onnxruntime": "onnxruntime_api", "litert": "litert_api"}


class Parts:
    """When each part ended."""

    def __init__(self, began: float, start_s: float) -> None:
        self._last = began
        self.ms: dict[str, float] = {"start": start_s * 1000}

    def end(self, name: str) -> None:
        """What has passed since the last part belongs to this one."""
        now = perf_counter()
        self.ms[name] = self.ms.get(name, 0.0) + (now - self._last) * 1000
        self._last = now

    def told(self) -> dict[str, float]:
        """Rounded, with their sum."""
        told = {name: round(value, 2) for name, value in self.ms.items()}
        return {**told, "total": round(sum(self.ms.values()), 2)}


class _Starting:
    """The library, which is on its way."""

    def __init__(self, runtime: str, file: str) -> None:
        self._found: Any = None
        self._lock = allocate_lock()
        self._lock.acquire()
        self.api: Any = None
        start_new_thread(self._run, (runtime, file))

    def _run(self, runtime: str, file: str) -> None:
        try:
            package = __import__(f"{__package__}.{_APIS[runtime]}", fromlist=["Library"])
            self._found = package.Library(file)
            self.api = package
        except BaseException as error:  # noqa: BLE001  # whoever waits raises it
            self._found = error
        finally:
            self._lock.release()

    def wait(self) -> Any:
        """The library. Raises what its start raised."""
        self._lock.acquire()
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:  # noqa: PTH123  # pathlib takes as long to import as the file to read
            return stream.read()
    except OSError as error:
        raise broken(f"{file} cannot be read: {error.strerror}", hint="make the bundle again") from None


def load(folder: str, parts: Parts) -> Model:
    """A model that is ready. Raises Refusal."""
    parts.end("import")
    spec = jsontext.read(_read(f"{folder}/runner.json"))
    if spec["format"] != FORMAT:
        raise broken(f"runner.json is of format {spec['format']}, this runner reads {FORMAT}", hint="make the bundle again")
    parts.end("fetch")
    starting = _Starting(spec["runtime"], f"{folder}/{spec['library']}")
    from . import golden  # while the library starts on its thread
    from .model import Model

    parts.end("import")
    cases = [golden.read_case(spec, case, _read(f"{folder}/{case['file']}")) for case in spec["golden"]]
    parts.end("fetch")
    library = starting.wait()
    parts.end("import")
    model = Model(spec, starting.api.Session(library, spec, f"{folder}/{spec['model']}", spec["model_bytes"]))
    parts.end("load")
    golden.replay(model, cases)
    parts.end("replay")
    return model

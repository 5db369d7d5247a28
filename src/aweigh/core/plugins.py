"""The plug-in table: what aweigh can use, by kind and name, readable without importing any of it.

A row is a module path, an attribute, the extra that installs its library and the library itself. Entry points of the group
`aweigh.<kind>` add rows; a name that is taken raises. What is not proven here says why in `experimental`.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import os
import sys
from typing import Final

from aweigh.core.errors import Conflict, MissingLibrary, Unsupported
from aweigh.core.nearest import nearest


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One row: `kind` and `name` find it, `module:attribute` loads it."""

    kind: str
    name: str
    target: str
    libraries: tuple[str, ...] = ()
    """Import names that must be there."""
    extra: str = ""
    """The extra of aweigh that installs them."""
    experimental: str = ""
    """Why it is not proven, if it is not."""
    runs_code: bool = False
    """Of a runtime: whether loading its files may run code that lies in them."""

    def missing(self) -> tuple[str, ...]:
        """The libraries that are not installed; found without importing them."""
        return tuple(library for library in self.libraries if importlib.util.find_spec(library) is None)


_BUILT_IN: Final = (
    Plugin(kind="runtime", name="onnxruntime", target="aweigh.runtimes.onnxruntime:OnnxRuntime", libraries=("onnxruntime",)),
    Plugin(
        kind="runtime",
        name="sklearn",
        target="aweigh.runtimes.sklearn:SklearnRuntime",
        libraries=("sklearn", "joblib"),
        extra="sklearn",
        runs_code=True,
    ),
    Plugin(kind="runtime", name="xgboost", target="aweigh.runtimes.xgboost:XgboostRuntime", libraries=("xgboost",), extra="xgboost"),
    Plugin(kind="runtime", name="lightgbm", target="aweigh.runtimes.lightgbm:LightgbmRuntime", libraries=("lightgbm",), extra="lightgbm"),
    Plugin(kind="runtime", name="catboost", target="aweigh.runtimes.catboost:CatboostRuntime", libraries=("catboost",), extra="catboost"),
    Plugin(kind="runtime", name="reference", target="aweigh.runtimes.reference:ReferenceRuntime", libraries=("onnx",), extra="pack"),
    Plugin(kind="runtime", name="null", target="aweigh.runtimes.null:NullRuntime"),
    Plugin(
        kind="framework", name="onnx", target="aweigh.packing.frameworks.onnx:OnnxFramework", libraries=("onnx", "pandas"), extra="pack"
    ),
    Plugin(
        kind="framework",
        name="xgboost",
        target="aweigh.packing.frameworks.xgboost:XgboostFramework",
        libraries=("xgboost", "skl2onnx"),
        extra="xgboost",
    ),
    Plugin(
        kind="framework",
        name="lightgbm",
        target="aweigh.packing.frameworks.lightgbm:LightgbmFramework",
        libraries=("lightgbm", "skl2onnx"),
        extra="lightgbm",
    ),
    Plugin(
        kind="framework",
        name="catboost",
        target="aweigh.packing.frameworks.catboost:CatboostFramework",
        libraries=("catboost", "skl2onnx"),
        extra="catboost",
    ),
    Plugin(
        kind="framework",
        name="sklearn",
        target="aweigh.packing.frameworks.sklearn:SklearnFramework",
        libraries=("sklearn", "skl2onnx"),
        extra="sklearn",
    ),
    Plugin(kind="dialect", name="open-inference-rest", target="aweigh.serve.dialects.open_inference_rest:OpenInferenceRest"),
    Plugin(kind="dialect", name="open-inference-grpc", target="aweigh.serve.dialects.open_inference_grpc:OpenInferenceGrpc"),
    Plugin(kind="dialect", name="predict", target="aweigh.serve.dialects.predict:Predict"),
    Plugin(kind="dialect", name="operations", target="aweigh.serve.dialects.operations:Operations"),
    Plugin(kind="remote", name="oci", target="aweigh.store.remotes.registry:open_registry", libraries=("urllib3",), extra="registry"),
    Plugin(kind="remote", name="s3", target="aweigh.store.remotes.objects:open_s3", libraries=("obstore",), extra="s3"),
    Plugin(
        kind="remote",
        name="gs",
        target="aweigh.store.remotes.objects:open_gs",
        libraries=("obstore",),
        extra="gs",
        experimental="not tried against Google Cloud Storage or an emulator of it",
    ),
    Plugin(
        kind="remote",
        name="az",
        target="aweigh.store.remotes.objects:open_az",
        libraries=("obstore",),
        extra="az",
        experimental="not tried against Azure Blob Storage or an emulator of it",
    ),
    Plugin(
        kind="client-transport", name="rest", target="aweigh.client.transports.rest:RestTransport", libraries=("urllib3",), extra="client"
    ),
    Plugin(kind="plot", name="svg", target="aweigh.bench.pictures:write_svg"),
    Plugin(kind="plot", name="html", target="aweigh.bench.pictures:write_html"),
    Plugin(kind="plot", name="png", target="aweigh.bench.png:write_png", libraries=("matplotlib",), extra="plot"),
    Plugin(kind="client-transport", name="grpc", target="aweigh.client.transports.grpc:GrpcTransport", libraries=("grpc",), extra="client"),
)


def _has_strangers() -> bool:
    """Whether any installed distribution has an entry point for aweigh: looked up in their files, because importing importlib.metadata takes 2 MB."""
    for folder in sys.path:
        with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    with contextlib.suppress(OSError), open(f"{entry.path}/entry_points.txt", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # hundreds of them: no objects between
                        if "[aweigh." in file.read():
                            return True
    return False


def _strangers(kinds: set[str]) -> list[Plugin]:
    import importlib.metadata  # only where there are some: see above

    return [
        Plugin(
            kind=kind,
            name=point.name,
            target=point.value,
            experimental=f"from {point.dist.name if point.dist else 'elsewhere'}, not proven by aweigh",
            runs_code=True,
        )
        for kind in sorted(kinds)
        for point in importlib.metadata.entry_points(group=f"aweigh.{kind}")
    ]


@functools.cache
def _table() -> dict[tuple[str, str], Plugin]:
    table: dict[tuple[str, str], Plugin] = {}
    strangers = _strangers({row.kind for row in _BUILT_IN}) if _has_strangers() else []
    for row in (*_BUILT_IN, *strangers):
        if (row.kind, row.name) in table:
            raise Conflict(
                f"two plug-ins of kind '{row.kind}' are named '{row.name}': {table[row.kind, row.name].target} and {row.target}",
                hint="uninstall one of the packages that provide them",
            )
        table[row.kind, row.name] = row
    return table


def plugins(kind: str) -> list[Plugin]:
    """All rows of a kind, aweigh's own first."""
    return [row for row in _table().values() if row.kind == kind]


def plugin(kind: str, name: str) -> Plugin:
    """One row. Raises Unsupported, with the nearest name, when there is none."""
    row = _table().get((kind, name))
    if row is None:
        names = [row.name for row in plugins(kind)]
        near = nearest(name, names)
        raise Unsupported(
            f"there is no {kind} named {name!r}", hint=f"did you mean {near!r}?" if near else f"there are: {', '.join(names) or 'none'}"
        )
    return row


def check_libraries(kind: str, name: str) -> Plugin:
    """The row, whose libraries are all there; none of them is imported. Raises MissingLibrary that names the extra to install, by command."""
    row = plugin(kind, name)
    absent = row.missing()
    if absent:
        what = f"aweigh[{row.extra}]" if row.extra else " ".join(absent)
        raise MissingLibrary(
            f"the {kind} '{name}' needs {', '.join(absent)}, which is not installed",
            hint=f"pip install '{what}'",
            libraries=", ".join(absent),
        )
    return row


def load(kind: str, name: str) -> object:
    """Import the plug-in and return its attribute. Raises MissingLibrary that names the extra to install, by command."""
    row = check_libraries(kind, name)
    module, _, attribute = row.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise MissingLibrary(
            f"the {kind} '{name}' cannot be loaded: {error}",
            hint="one of its libraries is broken or of a version it cannot work with: install it again",
        ) from error

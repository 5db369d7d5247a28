"""Writes a source in the form that one runtime takes, without a package and without a proof: what optimisation makes other forms from.

Found through `core/plugins.py`. Judges as packing does; a pickle is never taken. Runs in a child, in the environment of the source's framework.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from aweigh.core.errors import AweighError, Unsupported
from aweigh.core.protocols import Written, quiet
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.packing.choose import framework_for_format, judge, recognise_source
from aweigh.packing.frameworks.network import Way
from aweigh.packing.job import Job
from aweigh.packing.trust import check_trust

_ROWS: Final = 8
_SAID: Final = 300


def format_of(source: Path, factory: str = "") -> tuple[str, str]:
    """What the source is, as packing names the format, and in words. Imports no framework. Raises FileMissing, InvalidFile, UnknownFormat."""
    found = recognise_source(source, factory)
    return found.format, found.detail


def write_source(
    source: Path,
    folder: Path,
    *,
    runtime: str,
    endings: Sequence[str] = (),
    factory: str = "",
    rows: Mapping[str, Tensor] | None = None,
) -> Written:
    """See `core.protocols.SourceWriter`."""
    recognised = recognise_source(source, factory)
    check_trust(source, recognised, trust=False)
    judge(source, recognised, trust=False)
    framework: Any = framework_for_format(recognised.format)
    model = framework.load(source, recognised, trust=False)
    if hasattr(framework, "save") and framework.name == runtime:
        file = folder / framework.file
        framework.save(model, file)
        return Written(files={file.name: file}, signature=Signature(inputs=(), outputs=()), options=framework.options(model))
    if not hasattr(framework, "network"):
        raise Unsupported(f"{source.name} is a {recognised.detail}, which has no form for {runtime}")
    with tempfile.TemporaryDirectory(prefix="aweigh-sample-") as place:
        job = Job(
            model=model,
            recognised=recognised,
            source=source,
            sample=str(_sample(rows, Path(place))) if rows else None,
            labels=None,
            trust=False,
            prove=_not_here,
            progress=quiet,
            work=folder,
            factory=factory,
        )
        network = framework.network(job)
        files, options = _first(
            _fitting(network.ways, runtime), folder, endings, f"{source.name}, a {recognised.detail}, has no form for {runtime}"
        )
    return Written(files=files, signature=network.signature, options=options)


def _sample(rows: Mapping[str, Tensor], place: Path) -> Path:
    """A few rows as a sample: a single array goes to whatever takes it."""
    file = place / "sample.npz"
    np.savez(file, allow_pickle=False, **{name: tensor[:_ROWS] for name, tensor in rows.items()})
    return file


def _fitting(ways: Sequence[Way], runtime: str) -> Iterator[Way]:
    return (way for way in ways if way.variant.runtime == runtime)


def _first(ways: Iterator[Way], folder: Path, endings: Sequence[str], none: str) -> tuple[Mapping[str, Path], Mapping[str, Any]]:
    """The files of the way whose entry has the best ending. Raises Unsupported, saying what each way said."""
    said: list[str] = []
    found: list[tuple[int, Mapping[str, Path], Mapping[str, Any]]] = []
    for at, way in enumerate(ways):
        inside = folder / f"source-{at}"
        inside.mkdir()
        try:
            files = way.write(inside)
        except AweighError as error:
            said.append(f"{way.name}: {error.message[:_SAID]}")
            continue
        except Exception as error:  # noqa: BLE001  # converters raise anything; the next way is the answer to it
            said.append(f"{way.name}: {type(error).__name__}: {str(error)[:_SAID]}")
            continue
        ending = next(iter(files.values())).suffix
        if not endings or ending in endings:
            found.append((endings.index(ending) if endings else at, files, way.variant.options))
            if found[-1][0] == 0:
                break
    if not found:
        raise Unsupported(f"{none}{': ' if said else ''}{'; '.join(said)}")
    _, files, options = min(found, key=lambda each: each[0])
    return files, options


def _not_here(*_: object, **__: object) -> NoReturn:
    raise Unsupported("nothing is proven here")

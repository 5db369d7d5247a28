"""The source file of a package, for passes that begin with it: what it is, and the form of it that another tool converts. Packing writes that form, found through `core/plugins.py`."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import cast

from aweigh.core import plugins
from aweigh.core.errors import Unsupported
from aweigh.core.protocols import SourceWriter, Written
from aweigh.optimization.calibration import input_rows
from aweigh.optimization.passing import PassJob

Formats = Callable[[Path, str], tuple[str, str]]


def check_source(job: PassJob, formats: Collection[str], wanted: str) -> None:
    """Raise Unsupported where the job has no source, or one of none of these formats; `wanted` says in words what is."""
    if not job.source:
        raise Unsupported("it begins with the file that the package was packed from, and none was given", hint="give --source FILE")
    found, detail = format_of(job)
    if found not in formats:
        raise Unsupported(f"{Path(job.source).name} is a {detail}; it begins with {wanted}")


def format_of(job: PassJob) -> tuple[str, str]:
    """What the source is, as packing names the format, and in words. Raises FileMissing, InvalidFile, UnknownFormat."""
    return cast("Formats", plugins.load("source-form", "format"))(Path(job.source), job.factory)


def written(job: PassJob, runtime: str, *, endings: Sequence[str] = ()) -> Written:
    """The source in the form that `runtime` takes. Raises what judging and loading it raise, Unsupported where it has no such form or is another model than the package's."""
    write = cast("SourceWriter", plugins.load("source-form", "write"))
    folder = Path(job.folder) / "source"
    folder.mkdir()
    rows = input_rows(job) if job.calibration else None
    found = write(Path(job.source), folder, runtime=runtime, endings=endings, factory=job.factory, rows=rows)
    for what, own, others in (
        ("takes", job.signature.inputs, found.signature.inputs),
        ("gives", job.signature.outputs, found.signature.outputs),
    ):
        names, strange = sorted(spec.name for spec in own), sorted(spec.name for spec in others)
        if found.signature.inputs and names != strange:
            raise Unsupported(
                f"the source {what} {', '.join(strange)}, the package {', '.join(names)}: it is another model, or was packed otherwise"
            )
    return found

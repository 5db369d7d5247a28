"""Optimising: a package, a budget and data become the next version with further variants, each proven to keep the budget. Wires optimization, evaluation, verify and store."""

import dataclasses
import numbers
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final, cast

import msgspec

from aweigh.app.models import meaning, open_model
from aweigh.app.optimize_data import Data, default_budget, measure, read_data
from aweigh.app.optimize_host import Host
from aweigh.app.optimize_keys import search_key, training_key
from aweigh.app.optimize_publish import chosen_anew, going, newest_version, publish
from aweigh.app.tables import write_whole
from aweigh.core.errors import FileMissing, InvalidInput, InvalidSetting, StoreUnavailable, Unsupported
from aweigh.core.golden import read_golden
from aweigh.core.machine import machine
from aweigh.core.package import PackageManifest
from aweigh.core.plugins import check_libraries, load, plugin, plugins
from aweigh.core.protocols import PackageHandle, Progress, quiet
from aweigh.core.settings import Settings
from aweigh.evaluation.metrics import METRICS, better, bounded
from aweigh.isolate import Caps, Environments
from aweigh.optimization.budget import Budget, parse_budget
from aweigh.optimization.charts import optimization_page
from aweigh.optimization.devices import parse_device
from aweigh.optimization.journal import Journal
from aweigh.optimization.making import Shop, load_pass
from aweigh.optimization.material import Material, Training
from aweigh.optimization.passing import Need
from aweigh.optimization.report import Optimization
from aweigh.optimization.search import Found, Search, check_goal
from aweigh.optimization.summary import summarised

_MOST_ROWS: Final = 100_000
_LEAST_S: Final = 1
_MOST_S: Final = 7 * 86400


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeOptions:
    """`keep` is the budget, `goal` what for; `passes` names those to be tried, all without it, `without` those not to be."""

    labels: object = None
    keep: str = ""
    goal: str = "cpu"
    device: str = ""
    batch: int = 0
    seconds: float = 600.0
    passes: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    source: str = ""
    factory: str = ""
    train: str = ""
    student: str = ""
    publish: bool = True


def optimize_package(
    settings: Settings, model: str, data: object = None, *, options: OptimizeOptions | None = None, progress: Progress = quiet
) -> Optimization:
    """Search for variants of NAME, or of a model file, and publish what is kept as its next version. Raises what finding, reading and loading raise, InvalidSetting, Unsupported."""
    began, options = monotonic(), options or OptimizeOptions()
    options = checked(options)
    check_goal(options.goal)
    names = _passes(options)
    file = meaning(model).file
    handle = open_model(settings, model, progress=progress)
    newest = newest_version(settings, model, handle)
    options = dataclasses.replace(options, source=options.source or str(file or ""))
    calibration = any(Need.CALIBRATION in load_pass(name).declares.needs for name in names)
    rows = read_data(handle, data, options.labels, calibration=calibration)
    known = () if rows.right is None else tuple(METRICS)
    budget = parse_budget(options.keep or default_budget(handle.manifest.session_signature, rows.right), better, known, bounded)
    with tempfile.TemporaryDirectory(prefix="aweigh-optimize-") as folder:
        material = _material(settings, handle, rows, budget, options, Path(folder), progress)
        journal = Journal(settings.home_folder / "cache" / "optimize" / search_key(handle, rows, options.device))
        journal.begin()
        search = Search(material, journal, names, deadline=began + options.seconds, progress=progress)
        found = search.run()
        report = Optimization(
            model=str(handle.reference),
            digest=handle.digest,
            keep=budget.text,
            goal=options.goal,
            data=rows.source,
            rows=len(rows.split.judged),
            threads=material.device.threads,
            machine=machine(),
            baseline=material.baseline.variant.name,
            metrics=search.workshop.judge.figures,
            results=found.results,
            seconds=monotonic() - began,
        )
        anew = chosen_anew(found)
        worth = _worth(found, handle.manifest, anew)
        report = msgspec.structs.replace(report, summary=(*summarised(report), *([anew] if anew else [])))
        if worth and options.publish:
            progress("publishing")
            return publish(settings, handle, report, search, found, newest=newest)
    return msgspec.structs.replace(report, summary=(*report.summary, *going(found, str(handle.reference), publishes=False)))


def _worth(found: Found, manifest: PackageManifest, anew: str) -> bool:
    """Whether there is anything that another version would have: what is made again for machines of another kind is nothing new."""
    there = {variant.name for variant in manifest.variants}
    made = any(candidate.variant.name not in there for candidate in found.unproven)
    return bool(found.kept or made or (anew and not found.earlier.goes))


def checked(options: OptimizeOptions) -> OptimizeOptions:
    """Values as the command line takes them, from Python too, where they may be numpy's numbers and paths. Raises InvalidSetting."""
    seconds: object = options.seconds
    batch: object = options.batch
    if not isinstance(seconds, numbers.Real) or not _LEAST_S <= float(seconds) <= _MOST_S:
        raise InvalidSetting(f"seconds={seconds!r} is no time for a search", hint=f"a number from {_LEAST_S} to {_MOST_S}")
    if isinstance(batch, bool) or not isinstance(batch, numbers.Integral) or not 0 <= int(batch) <= _MOST_ROWS:
        raise InvalidSetting(f"batch={batch!r} is no number of rows", hint=f"0, for as many as suit the model, to {_MOST_ROWS}")
    for name in ("keep", "goal", "device", "source", "factory", "train", "student"):
        value = getattr(options, name)
        if not isinstance(value, str | os.PathLike if name == "source" else str):
            raise InvalidSetting(f"{name}={value!r} is no text", hint="write it as on the command line")
    return dataclasses.replace(options, seconds=float(seconds), batch=int(batch), source=str(options.source))


def _passes(options: OptimizeOptions) -> list[str]:
    """Names of passes to try. Raises Unsupported with the nearest for one that there is not."""
    for name in (*options.passes, *options.without):
        plugin("pass", name)
    every = [row.name for row in plugins("pass")]
    return [name for name in every if (not options.passes or name in options.passes) and name not in options.without]


def _material(
    settings: Settings, handle: PackageHandle, rows: Data, budget: Budget, options: OptimizeOptions, folder: Path, progress: Progress
) -> Material:
    device = parse_device(options.device, machine().features)
    environments = Environments(settings.environments_folder, allowed=not settings.no_isolate)
    caps = Caps(memory_bytes=2 * settings.child_memory_bytes, timeout_s=settings.child_timeout_s, threads=device.threads)
    host = Host(handle=handle, environments=environments, caps=caps, data=rows)
    own = host.own_candidates()
    progress("asking the package's own variants")
    calibration, digest = None, ""
    if len(rows.split.calibration):
        calibration = folder / "calibration.tensors"
        digest = host.write_calibration(calibration, own[0])
    signature = host.signature
    return Material(
        signature=signature,
        inner=own[0].variant.bare_signature(signature),
        own=own,
        earlier=host.earlier_candidates(),
        golden=read_golden(handle.manifest, handle.path),
        rows=rows.tensors,
        split=rows.split,
        calibration=calibration,
        calibration_digest=digest,
        batches=host.time_batches(own[0], options.batch),
        budget=budget,
        goal=options.goal,
        device=device,
        shop=Shop(environments=environments, caps=caps, progress=progress),
        measure=partial(measure, signature, rows, budget),
        load=host.load,
        prove=host.prove,
        labelled=rows.right is not None,
        finite=rows.finite,
        training=_training(options),
    )


def _training(options: OptimizeOptions) -> Training:
    """Raises InvalidInput for training code without what it trains."""
    if options.train and not options.source:
        raise InvalidInput("--train trains the model that the package came from", hint="give --source FILE, and --class for weights alone")
    folder = Path.cwd()
    return Training(
        source=str(Path(options.source).absolute()) if options.source else "",
        factory=options.factory,
        train=options.train,
        student=options.student,
        paths=(str(folder),),
        digest=training_key(folder, options.source, (options.train, options.factory, options.student)),
    )


def check_plot(path: str) -> None:
    """Whether a chart can be written there; asked before the work. Raises Unsupported, MissingLibrary, FileMissing."""
    form = Path(path).suffix.lower()
    if form not in {".html", ".png"}:
        raise Unsupported(
            f"{path}: '{form}' is not a format that the chart is written in", hint="use .html or .png, or '-' for the terminal"
        )
    if form == ".png":
        check_libraries("chart", "png")
    if not Path(path).absolute().parent.is_dir():
        raise FileMissing(f"there is no folder {Path(path).absolute().parent}", hint="check --plot")


def write_plot(report: Optimization, path: str) -> None:
    """Write the page of HTML, or the chart alone as PNG. Raises as `check_plot`, and StoreUnavailable."""
    check_plot(path)
    if path.lower().endswith(".html"):
        write_whole(Path(path), optimization_page(report).encode())
        return
    try:
        cast("Callable[[Path, Optimization], None]", load("chart", "png"))(Path(path), report)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be written: {error.strerror}", hint="check --plot") from error

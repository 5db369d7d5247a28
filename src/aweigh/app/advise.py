"""Which target and size suits a package: gathers what is known of it and asks `deploy/advice.py`."""

import math
from pathlib import Path
from typing import Final

import msgspec

from aweigh.app.models import open_model
from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.objective import parse_objective
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.plugins import plugins
from aweigh.core.protocols import Progress, quiet
from aweigh.core.settings import Settings
from aweigh.deploy.advice import Option, Subject, Wish, advise, read_places
from aweigh.deploy.bundle import check_runner
from aweigh.deploy.capacity import Capacity, measured, reckoned
from aweigh.deploy.prices import read_prices
from aweigh.engine.variants import choose_variant, environments_of

_ON_GPU: Final = frozenset({"cuda", "tensorrt", "migraphx"})
_GLIBC: Final = {"onnxruntime": "2.28", "openvino": "2.28", "torch": "2.28", "litert": "2.28", "tensorflow": "2.27", "xgboost": "2.28"}
"""The oldest that the wheels of these libraries take, by their platform tags in 2026."""


class AdviseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, as a person wrote it."""

    load: float = 1.0
    busy: float = 100.0
    """Per cent of the month in which so much is asked."""
    objective: str = ""
    budget_month: float = 0.0
    capacity: str = ""
    prices: str = ""
    variant: str = ""


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: options in order, and what they were reckoned from."""

    subject: Subject
    capacity: Capacity
    wish: Wish
    options: tuple[Option, ...]


def advise_package(settings: Settings, model: str, options: AdviseOptions, *, progress: Progress = quiet) -> Advice:
    """Raises ModelNotFound, InvalidInput, InvalidSetting for an objective, FileMissing and InvalidFile for files that were given."""
    if not 0 < options.load < math.inf:
        raise InvalidInput(f"a load of {options.load:g} requests/s", hint="say --load with the requests per second when most is asked")
    if not 0 < options.busy <= 100:
        raise InvalidInput(f"busy {options.busy:g} % of the time", hint="say --busy with a number above 0, at most 100")
    if not 0 <= options.budget_month < math.inf:
        raise InvalidInput(f"a budget of {options.budget_month:g} a month", hint="say --budget-month with what a month may cost")
    package = open_model(settings, model, progress=progress)
    variant = choose_variant(package.manifest, options.variant, environments=environments_of(settings))
    capacity = measured(Path(options.capacity), package, variant) if options.capacity else reckoned(package, variant)
    sizes = {file.path: file.size_bytes for file in package.manifest.files}
    provider = str(variant.options.get("providers", ""))
    subject = Subject(
        model=str(package.reference),
        variant=variant.name,
        size_mib=sum(sizes.get(file, 0) for file in variant.files) / 2**20,
        gpu=provider if provider in _ON_GPU else "",
        glibc=_GLIBC.get(variant.runtime, ""),
        no_runner=_no_runner(package.manifest, variant),
    )
    wish = Wish(
        requests_per_second=options.load,
        busy=options.busy / 100,
        objective=parse_objective(options.objective) if options.objective else None,
        budget=options.budget_month,
        capacity=options.capacity,
    )
    prices = read_prices(Path(options.prices) if options.prices else None)
    known = {row.name for row in plugins("target")}
    places = [place for place in read_places() if place.target in known]
    return Advice(subject=subject, capacity=capacity, wish=wish, options=tuple(advise(subject, capacity, wish, prices, places)))


def _no_runner(manifest: PackageManifest, variant: Variant) -> str:
    """Why the runner cannot start it; empty where it can."""
    try:
        check_runner(manifest, variant)
    except Unsupported as error:
        return error.message
    return ""

"""A package optimised by aweigh as a person does it, and what was kept as forms to be held against the others."""

import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aweigh.app.models import open_model
from aweigh.app.optimize import OptimizeOptions, optimize_package
from aweigh.core.package import Variant
from aweigh.core.protocols import PackageHandle
from aweigh.core.settings import Settings
from aweigh.engine.variants import Purpose, variants_in_order
from aweigh.optimization.report import Optimization
from bench.optimize.results import Line
from bench.optimize.turns import Form, base_line, environments, form_of

_PURPOSES: Final[Mapping[Purpose, str]] = {"online": "single rows", "batch": "batches"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One search."""

    report: Optimization
    handle: PackageHandle
    seconds: float

    def forms(self, who: str) -> list[Form]:
        """What the engine takes for single rows and for batches: one form where it is the same."""
        found: dict[str, list[Purpose]] = {}
        for purpose in _PURPOSES:
            found.setdefault(self._chosen(purpose).name, []).append(purpose)
        own = _own(self.handle).name
        lines = {
            name: Line(
                who=who,
                what=f"`{name}`, for {' and '.join(_PURPOSES[purpose] for purpose in purposes)}",
                purposes=tuple(purposes),
                own=name == own,
                seconds=self.seconds,
            )
            for name, purposes in found.items()
        }
        return [form_of(self.handle, self._named(name), line) for name, line in lines.items()]

    def _chosen(self, purpose: Purpose) -> Variant:
        return variants_in_order(self.handle.manifest, purpose=purpose, environments=environments())[0]

    def _named(self, name: str) -> Variant:
        return next(variant for variant in self.handle.manifest.variants if variant.name == name)

    def told(self, who: str) -> list[str]:
        """What was kept and refused, in the words of the search."""
        results = self.report.results
        counts = {outcome: sum(result.outcome == outcome for result in results) for outcome in dict.fromkeys(r.outcome for r in results)}
        lines = [
            f"{who}: {len(results)} lines: {', '.join(f'{count} {outcome}' for outcome, count in counts.items())}; {self.seconds:.0f} s"
        ]
        lines += [f"{who}, {each.outcome}: `{each.name}`{f': {each.why}' if each.why else ''}" for each in results if each.outcome in _TOLD]
        return lines


_TOLD: Final = ("kept", "outside", "slower", "failed")


def search(home: Path, model: str, rows: Any, options: OptimizeOptions) -> Outcome:
    """Raises what `aweigh optimize` raises."""
    settings = Settings(home=str(home), session_threads=1, threads=1)
    began = time.monotonic()
    report = optimize_package(settings, model, rows, options=options, progress=_say)
    seconds = time.monotonic() - began
    return Outcome(report=report, handle=open_model(settings, report.published or model), seconds=seconds)


def baseline(handle: PackageHandle) -> Form:
    """The package's own variant of ONNX Runtime, in float32."""
    return form_of(handle, _own(handle), base_line("ONNX Runtime, float32, one thread"))


def _own(handle: PackageHandle) -> Variant:
    return next(each for each in handle.manifest.variants if each.runtime == "onnxruntime" and each.departure is None)


def _say(text: str, *_: object) -> None:
    print(f"{time.strftime('%H:%M:%S')}   {text}", file=sys.stderr, flush=True)

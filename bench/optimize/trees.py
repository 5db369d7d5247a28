"""`python -m bench.optimize.trees`: packed tree ensembles against the fastest call that their own library has, single rows and batches. One thread each.

Digits, ten classes. Trained here, packed (`also lleaves` for LightGBM), and asked: all variants, of which the one counts that the engine chooses by their evidence, for
single rows and for batches. The library's call takes a matrix that is ready; aweigh's turn is the loaded session's, its process's borders included. Turns alternate, in blocks of calls.
"""

import argparse
import contextlib
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import catboost
import lightgbm
import numpy as np
import xgboost
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import aweigh
from aweigh.core.machine import machine
from aweigh.core.settings import Settings
from aweigh.engine.lifecycle import load_model
from aweigh.engine.model import LoadedModel
from aweigh.engine.variants import choose_variant, environments_of
from aweigh.isolate.environments import pinned
from bench.machine import describe

SEED: Final = 7
ROUNDS: Final = 100
BATCH: Final = 1000
LIBRARIES: Final = ("xgboost-cpu", "xgboost", "lightgbm", "catboost", "lleaves", "onnxruntime", "scikit-learn", "numpy")
BARS: Final[Mapping[tuple[str, str], float]] = {("lightgbm", "batch"): 6.0, ("xgboost", "online"): 4.0, ("catboost", "online"): 3.0}
"""What is to be reached, of the library's own call."""
Call = Callable[[Any], Any]
_ALIKE: Final = 1.15
"""Times the quickest, within which a choice is as good."""
_BLOCK_S: Final = 0.02
"""A block of calls lasts at least this long, so that the clock and the turn cost nothing."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One library and purpose. `ratio` is the median of the ratios of neighbouring turns, `low` and `high` its 95% bounds by bootstrap."""

    library: str
    purpose: str
    rows: int
    variant: str
    """The one that the engine chooses by the package's evidence."""
    variants_us: dict[str, float]
    """Of every variant, in the same turns."""
    native_us: float
    aweigh_us: float
    ratio: float
    low: float
    high: float
    bar: float
    agreement: float
    """Share of held-out rows with the library's own label."""
    difference: float
    """Greatest difference of a probability from the library's own."""

    @property
    def right(self) -> bool:
        """Whether the one that was chosen is the quickest, or as good as."""
        return self.variants_us[self.variant] <= _ALIKE * min(self.variants_us.values())

    @property
    def reached(self) -> bool:
        return self.ratio >= self.bar


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.optimize.trees", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--turns", type=int, default=60, help="turns of each side")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of boosting; ten trees each")
    options = parser.parse_args()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="aweigh-trees-") as folder:
        for library in MODELS:
            print(f"{library}: training, packing", file=sys.stderr)
            lines += _measured(library, Path(folder) / library, options.turns, options.rounds)
    if options.json:
        print(json.dumps({**_where(), "rounds": options.rounds, "lines": [dataclasses.asdict(line) for line in lines]}, indent=1))
    else:
        print(_table(lines))
    return 0 if all(line.reached and line.right for line in lines) else 1


def _xgboost(rows: Any, labels: Any, rounds: int) -> tuple[Any, Call]:
    model = xgboost.XGBClassifier(n_estimators=rounds, max_depth=6, learning_rate=0.1, n_jobs=1, random_state=SEED).fit(rows, labels)
    booster = model.get_booster()
    booster.set_param({"nthread": 1})
    return model, booster.inplace_predict


def _lightgbm(rows: Any, labels: Any, rounds: int) -> tuple[Any, Call]:
    model = lightgbm.LGBMClassifier(n_estimators=rounds, num_leaves=31, n_jobs=1, random_state=SEED, verbose=-1).fit(rows, labels)
    return model, partial(model.booster_.predict, num_threads=1)


def _catboost(rows: Any, labels: Any, rounds: int) -> tuple[Any, Call]:
    model = catboost.CatBoostClassifier(
        iterations=rounds, depth=6, thread_count=1, random_seed=SEED, verbose=False, allow_writing_files=False
    ).fit(rows, labels)
    return model, partial(model.predict, prediction_type="Probability", thread_count=1)


MODELS: Final[Mapping[str, Callable[[Any, Any, int], tuple[Any, Call]]]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
}
"""Trains, and gives the library's own fastest call for probabilities."""


def _measured(library: str, home: Path, turns: int, rounds: int) -> list[Line]:
    rows, labels = load_digits(return_X_y=True)
    train, held, train_labels, _ = train_test_split(rows.astype(np.float32), labels, test_size=0.3, random_state=SEED, stratify=labels)
    model, call = MODELS[library](train, train_labels, rounds)
    also = ["lleaves"] if library == "lightgbm" else []
    package = aweigh.pack(model, library, sample=train[:300], also=also, home=str(home))
    settings = Settings(home=str(home), session_threads=1, threads=1)
    with contextlib.ExitStack() as stack:
        loaded = {
            variant.name: stack.enter_context(contextlib.closing(load_model(package, settings, variant=variant.name)))
            for variant in package.manifest.variants
        }
        lines = []
        for purpose, count in (("online", 1), ("batch", BATCH)):
            chosen = choose_variant(package.manifest, purpose=purpose, environments=environments_of(settings))  # type: ignore[arg-type]  # one of the two words
            lines.append(_line((library, purpose, count), chosen.name, loaded, call, held, turns))
    return lines


def _line(asked: tuple[str, str, int], chosen: str, loaded: Mapping[str, LoadedModel], call: Call, held: Any, turns: int) -> Line:
    library, purpose, count = asked
    rows = np.ascontiguousarray(np.resize(held, (count, held.shape[1])))
    spec = loaded[chosen].signature.inputs[0]
    tensors = {spec.name: rows.astype(spec.datatype.dtype)}
    agreement, difference = _parity(loaded[chosen], call, held)
    calls = {"": partial(call, rows)} | {name: partial(each.session.run, tensors) for name, each in loaded.items()}
    times = _in_turns(calls, turns)
    ratios = np.array(times[""]) / np.array(times[chosen])
    drawn = np.random.default_rng(SEED).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    medians = {name: statistics.median(each) * 1e6 for name, each in times.items()}
    return Line(
        library=library, purpose=purpose, rows=count, variant=chosen, variants_us={name: value for name, value in medians.items() if name},
        native_us=medians[""], aweigh_us=medians[chosen], ratio=float(np.median(ratios)), low=float(low), high=float(high),
        bar=BARS.get((library, purpose), 0.0), agreement=agreement, difference=difference,
    )  # fmt: skip


def _parity(loaded: LoadedModel, call: Call, held: Any) -> tuple[float, float]:
    """On all held-out rows, against the call that is timed."""
    spec = loaded.signature.inputs[0]
    answers = dict(
        zip(
            [each.name for each in loaded.signature.outputs], loaded.session.run({spec.name: held.astype(spec.datatype.dtype)}), strict=True
        )
    )
    expected = np.asarray(call(held))
    given = next(np.asarray(answers[each.name]) for each in loaded.signature.outputs if each.role == "probability")
    label = next(np.asarray(answers[each.name]) for each in loaded.signature.outputs if each.role == "label")
    return float((expected.argmax(axis=1) == label.astype(int)).mean()), float(np.abs(expected - given).max())


def _in_turns(calls: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, list[float]]:
    """Seconds of a call of each, turn by turn, forwards and back; each turn is a block of calls of which the median counts."""
    blocks = {name: max(3, int(_BLOCK_S / max(_block(each, 5), 1e-7))) for name, each in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns):
        for name in list(calls) if turn % 2 == 0 else reversed(list(calls)):
            times[name].append(_block(calls[name], blocks[name]))
    return times


def _block(call: Callable[[], Any], count: int) -> float:
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _where() -> dict[str, object]:
    return {**describe(LIBRARIES), "features": list(machine().features), "environment_lleaves": pinned("lleaves", ("lleaves", "llvmlite"))}


def _table(lines: Sequence[Line]) -> str:
    where = _where()
    said = [f"{where['processor']}, {where['cores']} cores ({', '.join(machine().features)}); {where['versions']}", ""]
    said += [f"{'library':9} {'rows':>5} {'variant':9} {'own us':>9} {'aweigh us':>9} {'times':>6}  95%            wanted"]
    for line in lines:
        wanted = f"{line.bar:.0f}x {'reached' if line.reached else 'MISSED'}" if line.bar else ""
        others = ", ".join(f"{name} {value:.0f} us" for name, value in line.variants_us.items())
        choice = "the right choice" if line.right else "NOT THE QUICKEST"
        said.append(
            f"{line.library:9} {line.rows:5} {line.variant:9} {line.native_us:9.1f} {line.aweigh_us:9.1f} {line.ratio:6.2f}  {line.low:.2f} to {line.high:.2f}"
            f"  {wanted:11}; {choice} of {others}; same labels {line.agreement:.4f}, probabilities within {line.difference:.1e}"
        )
    return "\n".join(said)


if __name__ == "__main__":
    sys.exit(main())

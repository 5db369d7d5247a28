"""Olive and NNCF alone, each in a process of its own environment, on the ONNX file that aweigh's baseline is. Gives what each yields, and how long it took."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from aweigh.optimization.material import split
from bench import environments as own
from bench.optimize.results import Line
from bench.optimize.turns import Form, environments, loose
from bench.processes import BenchError

PEERS: Final = Path(__file__).parent / "peers"
LISTED: Final = own.ROOT / "src" / "aweigh" / "isolate" / "locks" / "optimize.txt"
_SAID: Final = 500
_Made = tuple[str, Sequence[Path], str]
"""The runtime, the files, and what was done."""
_TRIES: Final = 12


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a tool is given. `points` are hundredths of accuracy that may be lost."""

    model: Path
    input: str
    rows: Any
    labels: Any
    points: float
    batch: int
    seconds: int


def forms(task: Task, folder: Path) -> tuple[list[Form], list[Line]]:
    """What came of each tool, and lines of those that gave nothing."""
    rows = folder / "rows.npz"
    parts = split(len(task.rows))
    timed = np.resize(np.arange(len(task.rows)), 2 * task.batch)
    picked = {"calibration": parts.calibration, "searched": parts.searched, "timed": timed}
    np.savez(
        rows, **{f"x_{name}": task.rows[at] for name, at in picked.items()}, **{f"y_{name}": task.labels[at] for name, at in picked.items()}
    )
    told = {"model": str(task.model), "input": task.input, "rows": str(rows), "points": task.points, "transformer": False}
    return _each(
        {
            "NNCF": lambda: _nncf({**told, "controlled": False}, folder / "nncf", "quantize, run by OpenVINO"),
            "NNCF, accuracy controlled": lambda: _nncf(
                {**told, "controlled": True}, folder / "nncf-controlled", "quantize_with_accuracy_control, run by OpenVINO"
            ),
            "Olive": lambda: _olive(
                {**told, "batch": task.batch, "seconds": task.seconds, "tries": _TRIES},
                folder / "olive",
                "OnnxQuantization, the fastest of {} that met its goals",
            ),
        }
    )


def transformer_forms(
    inside: Form, feeds: Sequence[Mapping[str, Any]], folder: Path, *, heads: int, hidden: int
) -> tuple[list[Form], list[Line]]:
    """What comes of the transformer in a form: quantised by NNCF with these feeds, and by Olive, which takes none for this."""
    place = folder / "feeds.npz"
    np.savez(place, **{f"{at}/{name}": tensor for at, feed in enumerate(feeds) for name, tensor in feed.items()})
    told = {"model": str(inside.files[inside.variant.files[0]]), "feeds": str(place), "transformer": True, "heads": heads, "hidden": hidden}
    return _each(
        {
            "NNCF": lambda: _nncf(told, folder / "nncf", "quantize for transformers, run by OpenVINO"),
            "Olive": lambda: _olive(told, folder / "olive", "OrtTransformersOptimization, then OnnxDynamicQuantization"),
        },
        inside=inside,
    )


def _each(runs: Mapping[str, Callable[[], _Made]], *, inside: Form | None = None) -> tuple[list[Form], list[Line]]:
    found, silent = [], []
    for who, run in runs.items():
        began = time.monotonic()
        try:
            runtime, files, what = run()
        except BenchError as error:
            silent.append(Line(who=who, what="", seconds=time.monotonic() - began, silence=str(error)[:_SAID], within=False))
            continue
        found.append(loose(who, runtime, files, Line(who=who, what=what, seconds=time.monotonic() - began), inside=inside))
    return found, silent


def versions() -> dict[str, str]:
    """Of the tools: what Olive's environment holds, and what aweigh's own list for its environment says."""
    listed = LISTED.read_text().split()
    pinned = dict(word.split("==") for word in listed if word.startswith(("nncf==", "openvino==")))
    return {**own.versions("olive", PEERS), **pinned}


def _nncf(told: Mapping[str, Any], folder: Path, what: str) -> _Made:
    home = environments().home("optimize")
    answer = _run(home.python, "nncf", told, folder)
    return "openvino", [Path(file) for file in answer["files"]], what


def _olive(told: Mapping[str, Any], folder: Path, what: str) -> _Made:
    answer = _run(str(own.python("olive", PEERS)), "olive", told, folder)
    models = answer["models"]
    if not models:
        raise BenchError("no model of its search met the goal")
    best = min(models, key=lambda model: model["figures"].get("latency-avg", float("inf")))
    return "onnxruntime", [Path(best["file"])], what.format(len(models))


def _run(python: str, name: str, told: Mapping[str, Any], folder: Path) -> Any:
    folder.mkdir(parents=True)
    job = folder / "job.json"
    job.write_text(json.dumps(told))
    limit = float(told.get("seconds", 120)) + 60
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "OLIVE_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "PYTHONPATH": ""}
    command = [python, str(PEERS / name / "run.py"), str(job)]
    try:
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"not done within {limit:.0f} s") from error
    (folder / "said.txt").write_text(done.stdout + done.stderr)
    if done.returncode or not (folder / "answer.json").exists():
        print((done.stderr or done.stdout)[-3000:], file=sys.stderr)
        raise BenchError((done.stderr or done.stdout).strip().rpartition("\n")[2] or f"ended with {done.returncode}")
    return json.loads((folder / "answer.json").read_text())

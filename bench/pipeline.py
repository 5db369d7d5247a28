"""`--scenario pipeline`: what a step of a pipeline adds to a request beyond what its model takes. Called by `__main__.py`.

A serial client asks one server in turn for a model, for a pipeline of three models and their mean, and for the same behind a Python function, which
runs in a process of its own or in the server's. What the models themselves take is measured in process, with the same rows.
"""

import argparse
import http.client
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

import aweigh
from bench import report
from bench.peers.aweigh import command
from bench.processes import BenchError, free_port, running
from bench.startup import Budget

NAME: Final = "pipeline"
LIMIT_US: Final = 50.0
REQUESTS: Final = 300
CALLS: Final = 2000
_START_S: Final = 60.0
_FUNCTION: Final = "def same(tensors):\n    return {'X': tensors['raw']}\n"
_ASKED: Final = {"linear": "X", "three": "X", "four": "raw"}
"""What is asked, and what its input is called."""
_PARTS: Final = ("linear", "tree", "deep")
_MEAN: Final = [f"{name}.probabilities" for name in _PARTS]


def run(flags: argparse.Namespace, where: Mapping[str, object], folder: Path, say: Callable[[str], None]) -> list[str]:
    """Measure, print and write; the budgets that were missed."""
    rows = _pack(folder)
    sessions = _sessions(folder, rows)
    rounds = flags.rounds or (3 if flags.quick else 7)
    times: dict[str, list[float]] = {}
    for functions in ("process", "server"):
        environment = {"AWEIGH_HOME": str(folder / "home"), "AWEIGH_FUNCTIONS": functions}
        port = free_port()
        with running("aweigh", [command(), "serve", "linear", "three", "four", "--port", str(port)], folder, environment):
            _await(port)
            for number in range(rounds):
                for name, taken in _ask(port, rows).items():
                    times.setdefault(f"{name} {functions}", []).append(taken)
                said = ", ".join(f"{key} {each[-1]:.0f} us" for key, each in times.items() if key.endswith(functions))
                say(f"round {number + 1} of {rounds}: {said}")
    budgets = _budgets({key: statistics.median(each) for key, each in times.items()}, sessions)
    print(
        f"\npipeline: three models and their mean, one row, one request after the other, each asked in turn; medians of {rounds} rounds' lower quartiles"
    )
    print(f"  the models alone, in process: {', '.join(f'{name} {taken:.1f} us' for name, taken in sessions.items())}")
    print(f"\n{report.budgets_text(budgets)}\n\nwritten to {report.write(NAME, where, [], budgets)}")
    return report.missed([], budgets)


def _budgets(taken: Mapping[str, float], sessions: Mapping[str, float]) -> list[Budget]:
    """Differences of requests, less what the models take that the one has and the other has not."""
    found = [Budget(name=f"request: {key}", value=value, unit="us") for key, value in taken.items()]
    models = sessions["tree"] + sessions["deep"]
    step = (taken["three server"] - taken["linear server"] - models) / 3  # where no other process of the server competes for the cores
    found.append(Budget(name="a step more (tree, deep, mean)", value=step, unit="us", limit=LIMIT_US))
    for functions, limit in (("server", LIMIT_US), ("process", None)):
        added = taken[f"four {functions}"] - taken[f"three {functions}"]
        found.append(
            Budget(name=f"a Python step in {'the server' if limit else 'a process of its own'}", value=added, unit="us", limit=limit)
        )
    return found


def _pack(folder: Path) -> np.ndarray[Any, Any]:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    features, labels = load_iris(return_X_y=True)
    rows: np.ndarray[Any, Any] = features.astype(np.float32)
    home = str(folder / "home")
    models = (LogisticRegression(max_iter=1000), DecisionTreeClassifier(max_depth=3), DecisionTreeClassifier(max_depth=6))
    for name, model in zip(_PARTS, models, strict=True):
        aweigh.pack(model.fit(rows, labels), name, sample=rows, home=home)
    (folder / "same.py").write_text(_FUNCTION)
    three = [{"name": name, "model": name} for name in _PARTS]
    mean = {"name": "mean", "combine": "mean", "inputs": _MEAN}
    aweigh.pack({"step": [*three, mean]}, "three", home=home)
    same = {"name": "same", "function": str(folder / "same.py:same"), "inputs": ["raw"]}
    aweigh.pack({"step": [same, *[{**step, "inputs": "same"} for step in three], mean]}, "four", sample={"raw": rows}, home=home)
    return rows


def _sessions(folder: Path, rows: np.ndarray[Any, Any]) -> dict[str, float]:
    """Microseconds of a call of each model in process, the median."""
    found = {}
    for name in _PARTS:
        with aweigh.load(name, home=str(folder / "home")) as model:
            call, feeds, times = model._loaded.run, {"X": rows[:1]}, []
            for _ in range(CALLS):
                began = time.perf_counter()
                call(feeds)
                times.append(time.perf_counter() - began)
        found[name] = statistics.median(times) * 1e6
    return found


def _await(port: int) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise BenchError("the server did not come up")


def _ask(port: int, rows: np.ndarray[Any, Any]) -> dict[str, float]:
    """Microseconds of a request with one row to each model, asked in turn; the lower quartile, which others on the machine disturb least."""
    bodies, times = {}, dict[str, list[float]]()
    for name, tensor in _ASKED.items():
        row = {"name": tensor, "shape": [1, rows.shape[1]], "datatype": "FP32", "data": rows[0].tolist()}
        bodies[name] = json.dumps({"inputs": [row]}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        for _ in range(REQUESTS):
            for name, body in bodies.items():
                began = time.perf_counter()
                connection.request("POST", f"/v2/models/{name}/infer", body)
                answer = connection.getresponse()
                said = answer.read()
                times.setdefault(name, []).append(time.perf_counter() - began)
                if answer.status != 200:
                    raise BenchError(f"{name} answered {answer.status}: {said[:200]!r}")
    finally:
        connection.close()
    return {name: float(np.percentile(each, 25)) * 1e6 for name, each in times.items()}

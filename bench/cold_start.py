"""Cold starts: from the process to the first right answer, golden replay included, in turns with a bare `python -c pass`. Prints figures as JSON.

    python -m bench.cold_start [TIMES [PYTHON]]

PYTHON is of the version that runs this, and as bare as a base image has it: what lies in its site-packages slows `-c pass` and not the runner.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import aweigh
from aweigh.deploy.bundle import runner_bundle
from aweigh.deploy.folder import write_files
from aweigh.deploy.runner_library import this_machine

ENVIRONMENT = {"PATH": os.environ["PATH"], "ORT_DISABLE_TELEMETRY": "1"}


def network(path: Path) -> None:
    """4-64-3, as small networks are."""
    draw = np.random.default_rng(0)
    weights = {"W1": draw.normal(size=(4, 64)).astype(np.float32), "W2": draw.normal(size=(64, 3)).astype(np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "W1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "W2"], ["y"]),
    ]
    edges = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])] for name, size in (("x", 4), ("y", 3))]
    graph = helper.make_graph(nodes, "network", *edges, [numpy_helper.from_array(value, name) for name, value in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def runner_of(folder: Path) -> Path:
    """A bundle of the network, packed and proven."""
    network(folder / "network.onnx")
    np.save(folder / "rows.npy", np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32))
    os.environ["AWEIGH_HOME"] = str(folder / "home")
    package = aweigh.pack(folder / "network.onnx", "network", sample=folder / "rows.npy")
    write_files(folder / "bundle", runner_bundle(package, package.manifest.variants[0], this_machine(), cache=folder))
    return folder / "bundle"


def bare_ms(python: str) -> float:
    """The process of `python -c pass`, begun and ended."""
    began = time.perf_counter()
    subprocess.run([python, "-c", "pass"], check=True, env=ENVIRONMENT)
    return (time.perf_counter() - began) * 1000


def first_answer_ms(python: str, folder: Path) -> float:
    """From the process to its first answer, checked."""
    began = time.perf_counter()
    process = subprocess.Popen([python, "-IS", str(folder / "run.py"), "--once"], stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stdout is not None
    answer = process.stdout.readline()
    took = (time.perf_counter() - began) * 1000
    assert json.loads(answer)["predictions"], answer
    assert process.wait(10) == 0
    process.stdout.close()
    return took


def parts_of(python: str, folder: Path) -> dict[str, float]:
    """What one start tells of itself."""
    done = subprocess.run([python, "-IS", str(folder / "run.py"), "--once", "--parts"], check=True, capture_output=True, env=ENVIRONMENT)
    told: dict[str, float] = json.loads(done.stdout)["parts"]
    return told


def barest() -> str:
    """The system's Python where it is of this version, else the one below the virtual environment."""
    system = "/usr/bin/python3"
    asked = [system, "-c", "import sys; print(sys.version_info[:2])"]
    if Path(system).exists() and subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == str(
        sys.version_info[:2]
    ):
        return system
    return os.path.realpath(sys.executable)


def measure(times: int, python: str) -> dict[str, Any]:
    """Best and median of starts and of a bare Python, in turns, and the parts of a start (medians)."""
    with tempfile.TemporaryDirectory() as name:
        folder = runner_of(Path(name))
        turns = [(bare_ms(python), first_answer_ms(python, folder), parts_of(python, folder)) for _ in range(times)]
    bare, answers = [turn[0] for turn in turns], [turn[1] for turn in turns]
    return {
        "python": python,
        "bare_ms": {"best": min(bare), "median": statistics.median(bare)},
        "first_answer_ms": {"best": min(answers), "median": statistics.median(answers)},
        "ratio": {"of best": min(answers) / min(bare), "of medians": statistics.median(answers) / statistics.median(bare)},
        "parts_ms": {part: statistics.median(turn[2][part] for turn in turns) for part in turns[0][2]},
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 15, sys.argv[2] if len(sys.argv) > 2 else barest()), indent=1))

"""What tests of the runner stand on: its model over a function instead of a library, requests to its forms, bundles laid out and started as processes."""

import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.names import ModelName, Reference
from aweigh.core.package import PackageManifest, Provenance, Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import DTYPES, Datatype, Tensors
from aweigh.core.tensors import Tensor as Array
from aweigh.deploy.bundle import runner_settings
from aweigh.runner.forms import Forms
from aweigh.runner.message import Request, Response
from aweigh.runner.model import Model
from aweigh.runner.tensors import CODES, Tensor

PYTHON = os.path.realpath(sys.executable)
"""Not a virtual environment's: what a base image has."""
READY_S = 30.0


def tensor_of(values: Array, datatype: Datatype) -> Tensor:
    """A numpy array as the runner has it."""
    if datatype is Datatype.BYTES:
        return Tensor("BYTES", values.shape, values.ravel().tolist())
    data = array(CODES[datatype.value])
    data.frombytes(np.ascontiguousarray(values, dtype=DTYPES[datatype]).tobytes())
    return Tensor(datatype.value, values.shape, data)


def array_of(tensor: Tensor) -> Array:
    """And back."""
    if tensor.datatype == "BYTES":
        flat = np.empty(len(tensor.data), dtype=object)
        flat[:] = tensor.data
        return flat.reshape(tensor.shape)
    return np.frombuffer(tensor.data.tobytes(), dtype=DTYPES[Datatype(tensor.datatype)]).reshape(tensor.shape)


class FunctionSession:
    """A session of the runner whose model is a function over numpy."""

    def __init__(self, function: Callable[[Tensors], Sequence[Array]], signature: Signature) -> None:
        self._function = function
        self._signature = signature
        self.takes = {spec.name: (spec.datatype.value, len(spec.shape)) for spec in signature.inputs}
        self.gives = {spec.name: (spec.datatype.value, len(spec.shape)) for spec in signature.outputs}

    def run(self, inputs: dict[str, Tensor], wanted: list[str]) -> list[Tensor]:
        answers = self._function({name: array_of(tensor) for name, tensor in inputs.items()})
        return [tensor_of(answer, spec.datatype) for answer, spec in zip(answers, self._signature.outputs, strict=True)]


def settings_of(
    signature: Signature, golden: Sequence[GoldenAnswers] = (), *, folder: Path | None = None, name: str = "iris"
) -> dict[str, Any]:
    """`runner.json` of a package of this signature, read back from JSON."""
    cases, files = golden_files(signature, golden)
    for path, data in files.items():
        assert folder is not None
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    variant = Variant(name="fake", runtime="onnxruntime", precision="fp32", files=("model.onnx",), missing_text="")
    manifest = PackageManifest(
        format_version=1, signature=signature, variants=(variant,), golden=cases, provenance=Provenance(framework="test")
    )
    package: Any = SimpleNamespace(
        reference=Reference(name=ModelName(name), version=1),
        digest="sha256:" + "0" * 64,
        manifest=manifest,
        path=lambda file: (folder or Path()) / file,
    )
    settings = json.loads(json.dumps(runner_settings(package, variant, cases)))
    return settings | {"library_version": "0", "library": ""}  # type: ignore[no-any-return]  # of JSON


def forms_of(function: Callable[[Tensors], Sequence[Array]], signature: Signature, **limits: int) -> Forms:
    """The forms of a model that is a function."""
    settings = settings_of(signature)
    settings["limits"] |= limits
    return Forms(Model(settings, FunctionSession(function, signature)))


def ask(forms: Forms, path: str, body: Any = None, *, method: str = "", **headers: str) -> Response:
    """One request; a body that is no bytes is sent as JSON."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return forms.answer(Request(method or ("POST" if body is not None else "GET"), path, named, data))


def lay_out(files: Mapping[str, bytes | Path], folder: Path) -> Path:
    """A bundle as a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            shutil.copyfile(content, path)
    return folder


def once(folder: Path, *words: str, python: str = PYTHON) -> dict[str, Any]:
    """What `run.py --once` prints."""
    done = subprocess.run(
        [python, "-IS", str(folder / "run.py"), "--once", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@contextlib.contextmanager
def running(folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> Iterator["Running"]:
    """A runner that is ready; ended by SIGTERM, and waited for."""
    with started([PYTHON, "-IS", str(folder / "run.py"), *words], environment) as process:
        yield process


@contextlib.contextmanager
def serving(*, key: str = "", **limits: float) -> Iterator["Running"]:
    """The runner's server over a model that takes as long as it is told, with these limits (`sleeper.py`)."""
    with started([sys.executable, "-m", "tests.runner.sleeper", json.dumps(limits)], {"AWEIGH_API_KEY": key} if key else {}) as process:
        yield process


@contextlib.contextmanager
def started(command: list[str], environment: Mapping[str, str] | None = None) -> Iterator["Running"]:
    """A process that says when it is ready; ended by SIGTERM, and waited for."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, bufsize=0, env={"PATH": os.environ["PATH"], **(environment or {})})
    try:
        yield Running(process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()


class Running:
    """A process of the runner."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.said = self._first_event()
        self.port = int(found[1]) if (found := re.search(r":(\d+)$", self.said.get("address", ""))) else 0

    def _first_event(self) -> dict[str, Any]:
        assert self.process.stderr is not None  # unbuffered: a library may say something just before, and one read would take both lines
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            if select.select([self.process.stderr], [], [], 0.1)[0]:
                line = self.process.stderr.readline()
                if not line:
                    raise AssertionError(f"it ended: {self.process.wait()}")
                if line.startswith(b"{"):
                    return dict(json.loads(line))
        raise AssertionError("it said nothing")

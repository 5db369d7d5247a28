"""Searches over models of many kinds: what they end with is never slower than the baseline and never outside the budget, on rows that no search has seen."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from tests.frameworks.kit import make

import aweigh
from aweigh.app.optimize import OptimizeOptions, optimize_package
from aweigh.app.optimize_data import read_data
from aweigh.app.optimize_host import Host
from aweigh.app.packages import open_store
from aweigh.core.names import parse_reference
from aweigh.core.package import Variant
from aweigh.core.settings import Settings
from aweigh.isolate import Caps, Environments
from aweigh.optimization.budget import parse_budget
from aweigh.optimization.candidates import Candidate
from aweigh.optimization.likeness import likeness
from aweigh.optimization.material import ask_all
from aweigh.optimization.report import Optimization
from aweigh.optimization.timing import Batches, Contestant, Timed, compare, merged

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore:Stochastic Optimizer")]
X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
ROWS = 3000
DEPTHWISE = """
import numpy, torch
torch.manual_seed(0)
torch.set_num_threads(1)
found = numpy.load("digits.npz")
x, y = torch.from_numpy(found["x"]).reshape(-1, 1, 8, 8), torch.from_numpy(found["y"])
def block(channels):
    return [torch.nn.Conv2d(channels, channels, 3, padding=1, groups=channels), torch.nn.Conv2d(channels, channels, 1), torch.nn.ReLU()]
net = torch.nn.Sequential(torch.nn.Conv2d(1, 48, 3, padding=1), torch.nn.ReLU(), *block(48), *block(48), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(),
    torch.nn.Linear(192, 10))
optimiser = torch.optim.Adam(net.parameters(), 3e-3)
for epoch in range(10):
    order = torch.randperm(1200)
    for at in range(0, 1200, 50):
        rows = order[at:at + 50]
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimiser.step()
batch = torch.export.Dim("batch", min=2, max=4096)
torch.onnx.export(net.eval(), (x[:4],), "depthwise.onnx", input_names=["x"], output_names=["y"], dynamic_shapes=({0: batch},), dynamo=True)
"""


def jittered(count: int, seed: int) -> np.ndarray[Any, Any]:
    """Rows near the digits, as many as are wanted."""
    random = np.random.default_rng(seed)
    return np.clip(X[random.integers(0, len(X), count)] + random.normal(0, 0.05, (count, 64)), 0, 1).astype(np.float32)


def drawn(seed: int) -> Any:
    """A model of a kind and size drawn by chance."""
    random = np.random.default_rng(seed)
    widths = tuple(int(width) for width in random.integers(16, 500, random.integers(1, 4)))
    fitted = X[:1200] + random.normal(0, 0.02, (1200, 64)).astype(np.float32)
    if seed % 5 == 3:
        return LogisticRegression(max_iter=200).fit(fitted, Y[:1200])
    if seed % 5 == 4:
        return MLPRegressor(hidden_layer_sizes=widths, max_iter=15, random_state=seed).fit(fitted, Y[:1200].astype(np.float32))
    return MLPClassifier(widths, max_iter=15, random_state=seed).fit(fitted, Y[:1200])


def settings(home: Path) -> Settings:
    return Settings(home=str(home))


def held_up(home: Path, found: Optimization, rows: np.ndarray[Any, Any], keep: str) -> None:
    """Whether what was kept holds on these rows: as quick as the baseline, and within the budget."""
    handle = open_store(settings(home)).open(parse_reference(found.published or found.model))
    environments = Environments(settings(home).environments_folder)
    data = read_data(handle, rows, None, calibration=False)
    host = Host(handle=handle, environments=environments, caps=Caps(memory_bytes=8 * 1024**3), data=data)
    base = host.own_candidates()[0]
    batches = host.time_batches(base, 64)
    load = partial(Contestant, signature=base.variant.bare_signature(host.signature), caps=host.caps, environments=environments)
    condition = parse_budget(keep, lambda _metric: 1, ()).conditions[0]
    for result in found.kept:
        variant = handle.manifest.variant(result.name)
        assert variant is not None
        files = {file: handle.path(file) for file in variant.files}
        timed = merged([turns(load, base, variant, files, batches) for _ in range(3)])
        assert any(speed.high >= 1 for speed in timed.speeds), f"{result.name} is slower: {timed.speeds}"
        sessions = [host.load(base.variant, base.files), host.load(variant, files)]
        answers = [ask_all(session, host.signature, data.tensors) for session in sessions]
        for session in sessions:
            session.close()
        alike = likeness(condition.metric, host.signature, *answers)
        assert alike.value >= condition.bound, f"{result.name}: {alike}"


def turns(load: Any, base: Candidate, variant: Variant, files: dict[str, Path], batches: Batches) -> Timed:
    """The variant beside the baseline, each in a process of its own, which live no longer."""
    contestants = [load(base.variant.bare(), files=base.files), load(variant.bare(), files=files)]
    try:
        return compare(contestants[0], contestants[1:], batches, seconds=0.6)[1]
    finally:
        for contestant in contestants:
            contestant.close()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 10))])
def test_a_random_model(seed: int, tmp_path: Path) -> None:
    home, keep = tmp_path / "home", ("agreement >= 99%", "agreement >= 97%", "agreement >= 95%")[seed % 3]
    aweigh.pack(drawn(seed), "drawn", sample=X[:64], home=str(home))
    options = OptimizeOptions(keep=keep, goal=("cpu", "throughput", "latency")[seed % 3], batch=64, seconds=20)
    found = optimize_package(settings(home), "drawn", jittered(ROWS, seed), options=options)
    held_up(home, found, jittered(ROWS, seed + 100), keep)


def test_a_depthwise_network(tmp_path: Path) -> None:
    """Dynamic INT8 makes its convolutions many times slower: nothing of the kind is kept."""
    np.savez(tmp_path / "digits.npz", x=X, y=Y)
    make("torch", DEPTHWISE, tmp_path)
    home, rows = tmp_path / "home", jittered(600, 1).reshape(-1, 1, 8, 8)
    aweigh.pack(tmp_path / "depthwise.onnx", "depthwise", sample={"x": rows[:64]}, home=str(home))
    options = OptimizeOptions(keep="agreement >= 98%", batch=64, seconds=60)
    found = optimize_package(settings(home), "depthwise", {"x": rows}, options=options)
    dynamic = [result for result in found.results if result.passes and result.passes[0].startswith("int8-dynamic")]
    assert dynamic
    assert not any(result.outcome == "kept" for result in dynamic)
    for result in found.kept:
        assert result.timed is not None
        assert any(speed.low > 1 for speed in result.timed.speeds)

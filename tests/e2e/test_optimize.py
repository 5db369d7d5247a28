"""`aweigh optimize` over real packages: what it keeps, what that is held to from then on, what it refuses, and that a search goes on where it was ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import aweigh
from aweigh.app.packages import open_store
from aweigh.core.errors import AweighError, InvalidInput, InvalidSetting, Unsupported
from aweigh.core.names import parse_reference
from aweigh.core.package import PackageManifest
from aweigh.core.protocols import Draft
from aweigh.core.settings import Settings
from aweigh.optimization.report import Optimization
from aweigh.store import StoredPackage

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore:Stochastic Optimizer")]
AWEIGH = Path(sys.executable).parent / "aweigh"
X, Y = load_digits(return_X_y=True)
LEARNT, HELD, LEARNT_Y, HELD_Y = train_test_split((X / 16).astype(np.float32), Y, test_size=0.5, random_state=0)
QUICK = ("int8-dynamic", "onnxruntime-level")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optimize")
    model = MLPClassifier((512, 512), max_iter=25, random_state=0).fit(LEARNT, LEARNT_Y)
    aweigh.pack(model, "digits", sample=LEARNT[:64], home=str(folder / "home"))
    np.save(folder / "held.npy", HELD)
    (folder / "labels.csv").write_text("label\n" + "\n".join(map(str, HELD_Y)))
    return folder


def search(home: Path, model: str = "digits:1", rows: Any = HELD, **options: Any) -> Optimization:
    said = {"labels": HELD_Y, "passes": QUICK, "batch": 256, "goal": "throughput", "home": str(home / "home"), **options}
    return aweigh.optimize(model, rows, **said)


def package(home: Path, reference: str) -> StoredPackage:
    return open_store(Settings(home=str(home / "home"))).open(parse_reference(reference))


@pytest.fixture(scope="module")
def found(home: Path) -> Optimization:
    return search(home, keep="accuracy within 1 points")


def test_what_is_kept_is_faster_and_within_the_budget(home: Path, found: Optimization) -> None:
    assert found.kept, found.summary
    kept = found.kept[0]
    assert kept.timed is not None
    assert kept.timed.speeds[-1].low > 1
    assert kept.timed.size_bytes < 0.3 * found.results[0].timed.size_bytes  # type: ignore[union-attr]  # the baseline is timed
    assert all(verdict.passed for verdict in (*kept.judged, *kept.unseen))
    variant = package(home, found.published).manifest.variant(kept.name)
    assert variant is not None
    assert variant.departure is not None
    assert variant.departure.base == found.baseline
    assert variant.evidence is not None
    budget = variant.evidence.check("budget")
    assert budget is not None
    assert budget.figures["accuracy"] == pytest.approx(kept.figures["accuracy"].value)


def test_the_next_version_answers_with_it_and_verifies(home: Path, found: Optimization) -> None:
    kept = found.kept[0]
    with aweigh.load(found.published, variant=kept.name, home=str(home / "home")) as model:
        labels = model.infer({"X": HELD})["label"]
        assert (labels == HELD_Y).mean() >= kept.unseen[0].limit
    done = subprocess.run(
        [AWEIGH, "--home", str(home / "home"), "verify", found.published, "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_one_that_answers_otherwise_here_gives_way(home: Path, found: Optimization) -> None:
    """Its own golden answers come from another machine, as far as this one can tell; the source's still hold for the baseline."""
    optimised = package(home, found.published)
    manifest: PackageManifest = optimised.manifest
    kept = manifest.variant(found.kept[0].name)
    assert kept is not None
    assert kept.departure is not None
    files: dict[str, bytes | Path] = {file.path: optimised.path(file.path) for file in manifest.files}
    moved = kept.departure.golden[0].file
    content = bytearray(optimised.path(moved).read_bytes())
    content[-1] ^= 0x40  # the exponent of the last probability: some 1e30 times as large
    files[moved] = bytes(content)
    quickest = {"latency_us_b1": 0.001, "latency_us_b1000": 0.001}
    kept = msgspec.structs.replace(kept, evidence=msgspec.structs.replace(kept.evidence, figures=quickest))  # type: ignore[type-var]  # it has evidence
    variants = tuple(kept if variant.name == kept.name else variant for variant in manifest.variants)
    store = open_store(Settings(home=str(home / "home")))
    other = store.publish(
        parse_reference("elsewhere").name, Draft(manifest=msgspec.structs.replace(manifest, variants=variants, files=()), files=files)
    )
    with aweigh.load(str(other.reference), home=str(home / "home")) as model:
        report = model._loaded.report
        assert model._loaded.variant.name == found.baseline
    assert f"'{kept.name}' answers otherwise on this machine" in report.variant_why
    with pytest.raises(AweighError, match="golden case"):
        aweigh.load(str(other.reference), variant=kept.name, home=str(home / "home"))


def test_a_search_goes_on_where_it_ended(home: Path, found: Optimization) -> None:
    again = search(home, keep="accuracy within 1 points", publish=False)
    first = {result.name: result for result in found.results if result.passes}
    assert {result.name for result in again.results if result.passes} >= set(first)
    for result in again.results:
        if result.name in first:
            assert result.seconds == first[result.name].seconds, "it was made again"
    assert again.published == ""


def test_what_an_earlier_search_kept_stays_while_it_keeps_the_budget(home: Path, found: Optimization) -> None:
    """A search for something else publishes no version without it; one whose budget it leaves says so, and publishes none for nothing in its place."""
    kept = found.kept[0]
    other = search(home, found.published, keep="accuracy within 1 points", goal="latency")
    stays = next(result for result in other.results if result.name == kept.name)
    assert stays.outcome == "own" or "as quick and as small" in stays.why
    assert stays.unseen, "it was not held to the budget of this search"
    assert [result.name for result in other.results].count(kept.name) == 1, "it was made again"
    first = {result.name: result.seconds for result in found.results if result.passes and result.name != kept.name}
    again = {result.name: result.seconds for result in other.results if result.name in first}
    assert len(again) > 2
    assert again.items() <= first.items(), "in the version that the search published, what it found was made again"
    if stays.outcome == "own":
        assert any("kept by an earlier search" in line and kept.name in line for line in other.summary)
        manifest = package(home, other.published or found.published).manifest
        variant = manifest.variant(kept.name)
        assert variant is not None
        assert variant.departure == package(home, found.published).manifest.variant(kept.name).departure  # type: ignore[union-attr]  # it was kept
    exact = search(home, found.published, keep="exact", goal="size", passes=("onnxruntime-level",))
    assert exact.published == ""
    assert any(f"'{kept.name}', which an earlier search kept, would not be in a new version" in line for line in exact.summary)
    assert "the budget is 'exact'" in next(result for result in exact.results if result.name == kept.name).why


def test_times_that_choose_another_of_its_own_variants_are_published(home: Path) -> None:
    """Trees whose evidence says that the wrong one is the quickest: taking turns puts it right, though nothing is kept."""
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=40, num_leaves=31, verbose=-1, n_jobs=1).fit(LEARNT, LEARNT_Y)
    packed = aweigh.pack(model, "trees", sample=LEARNT[:64], home=str(home / "home"))
    slowest = max(packed.manifest.variants, key=lambda each: each.evidence.figures["latency_us_b1"] if each.evidence else 0.0)
    variants = tuple(
        msgspec.structs.replace(
            each, evidence=msgspec.structs.replace(each.evidence, figures={**each.evidence.figures, "latency_us_b1": 0.01})
        )  # type: ignore[type-var,union-attr]  # it has evidence
        if each.name == slowest.name
        else each
        for each in packed.manifest.variants
    )
    files: dict[str, bytes | Path] = {file.path: packed.path(file.path) for file in packed.manifest.files}
    store = open_store(Settings(home=str(home / "home")))
    store.publish(
        parse_reference("trees").name, Draft(manifest=msgspec.structs.replace(packed.manifest, variants=variants, files=()), files=files)
    )
    found = search(home, "trees:2", labels=None, keep="exact", goal="latency", passes=("onnxruntime-level",))
    assert found.published == "trees:3"
    assert f"in place of '{slowest.name}'" in found.summary[-1]
    with aweigh.load("trees:3", home=str(home / "home")) as loaded:
        assert loaded._loaded.variant.name != slowest.name


def test_outside_the_budget_is_not_kept(home: Path) -> None:
    """A model whose answers hang on little: of so many rows some flip, on processors that add up eight bits exactly too."""
    rough = MLPClassifier((256,), max_iter=1, learning_rate_init=1e-7, random_state=3)
    aweigh.pack(rough.fit(LEARNT, LEARNT_Y), "rough", sample=LEARNT[:64], home=str(home / "home"))
    rows = np.random.default_rng(0).random((20_000, 64), dtype=np.float32)
    found = search(home, "rough", rows, labels=None, keep="agreement >= 100%", passes=("int8-dynamic",))
    assert {result.outcome for result in found.results if result.passes} == {"outside"}
    assert "needed 1" in found.results[-1].why
    assert (found.kept, found.published) == ((), "")
    assert "nothing is kept" in found.summary[0]


def test_a_row_that_is_not_finite_is_left_out(home: Path) -> None:
    """What departs from the source refuses such a row: one alone made every such pass fail, once it was built."""
    held = HELD.copy()
    held[3, 5], held[7, 2] = np.nan, np.inf
    found = aweigh.optimize(
        "digits:1", held, labels=HELD_Y, keep="accuracy within 5 points", passes=("int8-dynamic",), batch=64, publish=False, home=str(home / "home")
    )  # fmt: skip
    assert {result.outcome for result in found.results if result.passes} <= {"kept", "beaten", "slower"}
    assert found.data.endswith("without 2 rows that hold NaN or infinities")
    held[1:, 0] = np.nan
    found = aweigh.optimize("digits:1", held, passes=("int8-dynamic",), publish=False, home=str(home / "home"))
    refused = [result for result in found.results if result.passes]
    assert [result.outcome for result in refused] == ["refused"]
    assert "nearly every row holds NaN or infinities" in refused[0].why


def test_an_exact_budget_refuses_what_departs(home: Path) -> None:
    found = search(home, keep="exact", publish=False)
    refused = next(result for result in found.results if result.passes == ("int8-dynamic",))
    assert refused.outcome == "refused"
    assert "the budget is 'exact'" in refused.why


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"passes": ("int8-dinamic",)}, Unsupported, "no pass named 'int8-dinamic'"),
        ({"goal": "speed"}, InvalidInput, "--for 'speed'"),
        ({"keep": "accuracy > 99"}, InvalidSetting, "is no budget"),
        ({"labels": None, "keep": "accuracy >= 99%"}, InvalidSetting, "need --labels"),
        ({"keep": "rmse <= 102%"}, InvalidSetting, "the source's answers to these rows have no 'rmse'"),
        ({"keep": "f1[3] >= 99%, f1[11] >= 99%"}, InvalidSetting, r"have no 'f1\[11\]'"),
        ({"labels": HELD_Y[:5]}, InvalidInput, "899 rows have 5 labels"),
        ({"train": "mine:train"}, InvalidInput, "--train trains the model that the package came from"),
    ],
)
def test_mistakes(home: Path, options: dict[str, Any], error: type[AweighError], said: str) -> None:
    with pytest.raises(error, match=said):
        search(home, **options)


def test_a_killed_search_loses_no_finished_result(home: Path) -> None:
    command = [
        AWEIGH, "optimize", "digits:1", "held.npy", "--labels", "labels.csv", "--for", "latency", "--batch", "64", "--json", "--dry-run",
        *(word for name in QUICK for word in ("--pass", name)),
    ]  # fmt: skip
    env = {**os.environ, "AWEIGH_HOME": str(home / "home")}
    journal = home / "home" / "cache" / "optimize"
    before = {path.parent.name for path in journal.glob("*/*/result.json")}
    running = subprocess.Popen(command, cwd=home, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not (finished := {path for path in journal.glob("*/*/result.json") if path.parent.name not in before}):
            assert running.poll() is None
            assert time.monotonic() < deadline, "nothing was finished"
            time.sleep(0.02)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait(30)
    kept = {path: path.read_bytes() for path in finished}
    done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seconds = {result["name"]: result.get("seconds") for result in json.loads(done.stdout)["results"]}
    for path, content in kept.items():
        assert path.read_bytes() == content
        result = json.loads(content)
        assert seconds[result["name"]] == result["seconds"], "it was made again"


def test_as_a_person_reads_it(home: Path) -> None:
    done = subprocess.run(
        [
            AWEIGH, "--home", str(home / "home"), "optimize", "digits:1", "held.npy", "--labels", "labels.csv", "--for", "throughput", "--batch", "256",
            "--keep", "accuracy within 1 points", "--plot", "page.html", "--dry-run", *(word for name in QUICK for word in ("--pass", name)),
        ],
        cwd=home, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "keeping 'accuracy within 1 points'" in done.stdout
    assert "kept 'int8-dynamic" in done.stdout
    page = (home / "page.html").read_text()
    assert "<svg" in page
    assert "int8-dynamic-per-channel" in page

"""What is kept of candidates, and for whom: for another goal it is judged anew, with other libraries, deadlines or training code it is made anew."""

import dataclasses
import fcntl
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import numpy as np
import pytest

from aweigh.app.optimize_keys import training_key
from aweigh.core.errors import StoreUnavailable, Unsupported
from aweigh.core.evidence import Evidence, Machine, Strength
from aweigh.core.package import Departure, Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.isolate import Caps
from aweigh.optimization import trying
from aweigh.optimization.budget import Budget, Figure
from aweigh.optimization.candidates import Candidate, derived, digests_of, form_key, name_of
from aweigh.optimization.journal import Journal
from aweigh.optimization.making import Shop, load_pass, made_with
from aweigh.optimization.material import Material, Training, split
from aweigh.optimization.passing import Device, Made, Way
from aweigh.optimization.report import Outcome, Result
from aweigh.optimization.search import Search
from aweigh.optimization.timing import Speed, Timed
from aweigh.optimization.trying import Workshop, told
from aweigh.testing.fakes import FakeSession

ROWS = np.ones((20, 4), dtype=np.float32)
WAY = Way(name="")
EVIDENCE = Evidence(
    strength=Strength.FULL, data="", checks=(), passed=True, made_at="", machine=Machine(system="", architecture="", processor="", cores=1)
)


def own(folder: Path, name: str = "onnx") -> Candidate:
    place = folder / name
    place.write_bytes(b"m" * 1000)
    return Candidate(
        variant=Variant(name=name, runtime="onnxruntime", precision="fp32", files=("m",)), files={"m": place}, base=name, key=name
    )


def material(folder: Path, **more: Any) -> Material:
    spec = TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 4))
    signature = Signature(inputs=(spec,), outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 4)),))
    said: dict[str, Any] = {
        "signature": signature, "inner": signature, "own": [own(folder)], "golden": (), "rows": {"x": ROWS}, "split": split(20), "calibration": None,
        "calibration_digest": "", "batches": {1: {"x": ROWS[:1]}}, "budget": Budget(text="exact"), "goal": "cpu", "device": Device(),
        "shop": Shop(environments=None, caps=Caps(memory_bytes=0, timeout_s=60)), "measure": lambda *_: dict[str, Figure](),
        "load": lambda *_: FakeSession(lambda inputs: list(inputs.values())), "prove": lambda *_: EVIDENCE, **more,
    }  # fmt: skip
    return Material(**said)


def found(outcome: Outcome, times: Sequence[float], size: int) -> Result:
    speeds = tuple(
        Speed(rows=rows, p50_us=1, p99_us=1, rows_per_s=1, cpu_s_per_1000=1, times=each, low=each - 0.01, high=each)
        for rows, each in zip((1, 64), times, strict=True)
    )
    timed = Timed(speeds=speeds, load_ms=1, memory_bytes=1, size_bytes=size)
    return Result(name="int8-dynamic", passes=("int8-dynamic",), base="onnx", outcome=outcome, why="as it was", timed=timed)


def test_what_a_search_for_something_else_timed_is_judged_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for goal, before, expected in (("size", "slower", "beaten"), ("latency", "beaten", "slower"), ("throughput", "slower", "beaten")):
        workshop = Workshop(material(tmp_path, goal=goal), journal)
        key = workshop.key(workshop.material.baseline, "int8-dynamic", WAY)
        with journal.in_turn(key):
            journal.keep(key, found(before, (0.5, 2.0), 100))  # type: ignore[arg-type]  # both are outcomes
        result = workshop.try_way(workshop.material.baseline, "int8-dynamic", WAY).result
        assert result.outcome == expected, goal
        assert ("not faster" in result.why) == (expected == "slower")


def test_what_decides_is_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(**more: Any) -> str:
        given = material(tmp_path, **more)
        return Workshop(given, Journal(tmp_path)).key(given.baseline, "int8-dynamic", WAY)

    first = key()
    assert key() == first
    assert key(goal="size") == first, "no pass knows what for"
    assert key(shop=Shop(environments=None, caps=Caps(memory_bytes=0, timeout_s=61))) != first
    monkeypatch.setattr(trying, "made_with", lambda _: {"onnx": "another"})
    assert key() != first


def test_a_form_is_known_again_in_whatever_version_it_is_and_no_other_is_taken_for_it(tmp_path: Path) -> None:
    """A search publishes what it kept: what it found of passes that go on from there holds for the next search."""
    given = material(tmp_path)
    (tmp_path / "int8").write_bytes(b"8")
    made = derived(
        given.baseline,
        "int8-dynamic",
        "int8-dynamic",
        Made(runtime="onnxruntime", precision="int8", files={"m": str(tmp_path / "int8")}),
        declared=load_pass("int8-dynamic").declares,
    )
    workshop = Workshop(given, Journal(tmp_path / "journal"))
    key = workshop.key(made, "onnxruntime-level", WAY)
    published = dataclasses.replace(
        made,
        variant=msgspec.structs.replace(
            made.variant, evidence=EVIDENCE, departure=Departure(base="onnx", passes=made.chain, keep="accuracy >= 99%")
        ),
        files=dict.fromkeys(made.variant.files, tmp_path / "int8"),
        key=form_key(made, digests_of(made)),
    )
    assert workshop.key(published, "onnxruntime-level", WAY) == key
    assert workshop.key(dataclasses.replace(published, key=""), "onnxruntime-level", WAY) == key

    exact = msgspec.structs.replace(made.variant, evidence=EVIDENCE, base="onnx", passes=made.chain)
    assert form_key(dataclasses.replace(made, variant=exact), digests_of(made)) == form_key(made, digests_of(made))

    first, digests = form_key(made, digests_of(made)), digests_of(made)
    variant = made.variant
    others = [
        dataclasses.replace(made, base="onnx-2"),
        dataclasses.replace(made, chain=("int8-dynamic (per-channel)",)),
        dataclasses.replace(made, departs=not made.departs),
        *(
            dataclasses.replace(made, variant=msgspec.structs.replace(variant, **changed))
            for changed in (
                {"runtime": "openvino"},
                {"precision": "fp16"},
                {"options": {"intra_op_threads": 4}},
                {"environment": ("numpy==2",)},
                {"missing_text": ""},
            )
        ),
    ]
    keys = {form_key(other, digests) for other in others} | {form_key(made, dict.fromkeys(digests, "sha256:0"))}
    assert len(keys) == len(others) + 1
    assert first not in keys
    (tmp_path / "int8").unlink()
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        digests_of(made)


def test_the_libraries_of_a_pass() -> None:
    assert set(made_with("int8-dynamic")) in ({"onnx", "sympy"}, {"optimize"})
    assert made_with("onnxruntime-level") == {}


def test_one_that_another_search_is_at_is_waited_for_until_the_time_is_over(tmp_path: Path) -> None:
    told: list[str] = []
    shop = Shop(environments=None, caps=Caps(memory_bytes=0, timeout_s=60), progress=told.append)
    workshop = Workshop(material(tmp_path, shop=shop), Journal(tmp_path / "journal"))
    place = tmp_path / "journal" / workshop.key(workshop.material.baseline, "int8-dynamic", WAY)
    place.mkdir(parents=True)
    with (place / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = workshop.try_way(workshop.material.baseline, "int8-dynamic", WAY, until=monotonic() + 0.1).result
    assert (result.outcome, result.why) == ("untried", "another search was at work on it until the time was over")
    assert told == ["waiting for another search, which is at work on 'int8-dynamic'"]


def test_training_code_is_all_that_can_be_imported_beside_it(tmp_path: Path) -> None:
    for file in (
        "training.py",
        "layers.py",
        "nets/__init__.py",
        "nets/deep/__init__.py",
        "spaces/mine.py",
        "other/not_imported.py",
        "rows.csv",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("1")
    (tmp_path / "nets" / "again").symlink_to(tmp_path / "nets")

    def key() -> str:
        return training_key(tmp_path, "", ("training:train", "spaces.mine:make", ""))

    for file, counts in {
        "training.py": True, "layers.py": True, "nets/__init__.py": True, "nets/deep/__init__.py": True, "spaces/mine.py": True,
        "other/not_imported.py": False, "rows.csv": False,
    }.items():  # fmt: skip
        before = key()
        (tmp_path / file).write_text("2")
        assert (key() != before) == counts, file


def test_a_source_that_is_a_folder_is_all_its_files(tmp_path: Path) -> None:
    source = tmp_path / "saved"
    (source / "variables").mkdir(parents=True)
    (source / "variables" / "data").write_bytes(b"1")
    before = training_key(tmp_path, str(source), ("", "", ""))
    (tmp_path / "script.py").write_text("1")
    assert training_key(tmp_path, str(source), ("", "", "")) == before
    (source / "variables" / "data").write_bytes(b"2")
    assert training_key(tmp_path, str(source), ("", "", "")) != before


def test_candidates_of_other_variants_than_the_baseline_say_so_in_their_names(tmp_path: Path) -> None:
    """The comparison and the package go by names: two of one name were one of them."""
    given = material(tmp_path, own=[own(tmp_path), own(tmp_path, "onnx-2")])
    search = Search(given, Journal(tmp_path / "journal"), ("onnxruntime-level", "int8-dynamic"), deadline=0.0)
    for parent in given.own:
        search._extend(parent, ["onnxruntime-level", "int8-dynamic"])
    names = [each.result.name for each in search._tried]
    assert names[:2] == ["onnxruntime-level (basic)", "onnxruntime-level (extended)"]
    assert "onnx-2 + onnxruntime-level (basic)" in names
    assert "onnx-2 + int8-dynamic" in names  # refused: the budget is exact
    assert len(set(names)) == len(names)
    made = derived(
        given.own[1], "int8-dynamic", name_of(search.workshop.words(given.own[1], "int8-dynamic")), Made(runtime="onnxruntime", precision="int8", files={"m": "/m"}),
        declared=load_pass("int8-dynamic").declares,
    )  # fmt: skip
    assert (made.variant.name, made.chain, made.base) == ("onnx-2-int8-dynamic", ("int8-dynamic",), "onnx-2")
    assert made.variant.files == ("variants/onnx-2-int8-dynamic/m",)


def test_long_names_stay_apart() -> None:
    one, other = (name_of(("a" * 120, end)) for end in ("b", "c"))
    assert one != other
    assert len(one) == 100


def test_what_begins_at_the_source_begins_there_once(tmp_path: Path) -> None:
    (tmp_path / "trees.txt").write_text("tree\nversion=v4\n")
    given = material(tmp_path, own=[own(tmp_path), own(tmp_path, "onnx-2")], training=Training(source=str(tmp_path / "trees.txt")))
    search = Search(given, Journal(tmp_path / "journal"), ("native-trees",), deadline=0.0)
    for parent in given.own:
        search._extend(parent, ["native-trees"])
    assert [each.result.name for each in search._tried] == ["native-trees"]


def test_a_refusal_tells_the_next_step(tmp_path: Path) -> None:
    """Where a pass knows what to do about it, the report says so too, however long the reason is."""
    given = material(tmp_path, training=Training(source=str(tmp_path / "nowhere.txt")))
    search = Search(given, Journal(tmp_path / "journal"), ("native-trees",), deadline=0.0)
    search._extend(given.baseline, ["native-trees"])
    assert search._tried[0].result.why.endswith("nowhere.txt: there is no such file; check the path")
    assert told(Unsupported("it has no way", hint="give --source FILE")) == "it has no way; give --source FILE"
    assert told(Unsupported("it has no way")) == "it has no way"
    long = told(Unsupported("a" * 1000, hint="give --source FILE"))
    assert (len(long), long[-19:]) == (400, "; give --source FILE"[-19:])

"""Where a model runs: what settles it, and that it is told why."""

import threading
import time
from typing import Any

import msgspec
import numpy as np
import pytest

from aweigh.core.golden import GoldenAnswers
from aweigh.core.package import FORMAT_VERSION, Hooks, PackageManifest, Provenance, Variant
from aweigh.core.settings import Settings
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.engine.placement import Cost, choose_executor, measure, needs_process
from aweigh.testing import FakeSession

SPEC = TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, 2))
SIGNATURE = Signature(inputs=(SPEC,), outputs=(msgspec.structs.replace(SPEC, name="Y"),))
GOLDEN = [GoldenAnswers(name="one", why="", inputs={"X": np.zeros((2, 2), dtype=np.float32)}, outputs=[])]


def settled(runtime: str = "null", hooks: Hooks | None = None, **settings: Any) -> str:
    variant = Variant(name="v", runtime=runtime, precision="fp32")
    manifest = PackageManifest(
        format_version=FORMAT_VERSION,
        signature=SIGNATURE,
        variants=(variant,),
        golden=(),
        provenance=Provenance(framework="test"),
        hooks=hooks or Hooks(),
    )
    place = needs_process(manifest, variant, Settings(**settings))
    return "" if place is None else f"{place.executor}: {place.why}"


def test_code_of_a_package_runs_in_a_process_whatever_is_set() -> None:
    for executor in ("auto", "inline", "thread", "process"):
        assert "code of its own" in settled("sklearn", executor=executor)
        assert "code of its own" in settled(hooks=Hooks(post="m:f"), executor=executor)
    assert settled() == settled("onnxruntime", executor="thread") == ""
    assert settled(executor="process") == "process: set by the executor setting"


def test_a_dear_call_that_holds_the_interpreter_goes_to_a_process() -> None:
    session = FakeSession(lambda _: [])
    dear = choose_executor(session, Cost(call_us=5000, row_us=0, held=0.9), Settings())
    assert (dear.executor, dear.inline_rows) == ("process", -1)
    assert "90%" in dear.why
    assert choose_executor(session, Cost(call_us=5000, row_us=0, held=0.3), Settings()).executor == "thread"
    assert choose_executor(session, Cost(call_us=50, row_us=0, held=0.9), Settings()).executor == "inline"
    assert choose_executor(session, Cost(call_us=5000, row_us=0, held=0.9), Settings(executor="thread")).executor == "thread"


def _count(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.parametrize(("work", "holds"), [(_count, True), (time.sleep, False)])
def test_whether_a_session_holds_the_interpreter_is_measured(work: Any, holds: bool) -> None:
    session = FakeSession(lambda _: [work(0.012)])  # type: ignore[list-item]  # nobody looks
    shares = [measure(session, SIGNATURE, GOLDEN, Settings()).held for _ in range(3)]
    assert (sorted(shares)[1] >= 0.5) is holds, shares
    assert not [thread for thread in threading.enumerate() if thread.name == "aweigh-pulse"]


def test_what_need_not_be_measured_is_not() -> None:
    session = FakeSession(lambda _: [_count(0.002)])  # type: ignore[list-item]  # nobody looks
    assert measure(session, SIGNATURE, GOLDEN, Settings(executor="thread")).held == 0
    assert measure(FakeSession(lambda _: []), SIGNATURE, GOLDEN, Settings()).held == 0
    assert measure(session, SIGNATURE, [], Settings()) == Cost(call_us=0, row_us=0)

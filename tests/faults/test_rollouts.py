"""B.3 12 to 14, and what a rollout promises: swaps under full load lose nothing, a bad candidate costs no request, what is compared and dealt out is as said."""

import http.client
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.faults.asking import ROW, Asking
from tests.faults.leaks import Leaks
from tests.faults.load import Load, capacity
from tests.faults.shelves import logged, model_blob, pack_next, post, shelf_of
from tests.serving.models import WEIGHTS, linear, words
from tests.serving.served import Served
from tests.serving.trouble import HOOK, MAGIC, TROUBLES
from tests.serving.workers import kill, pids, until

import aweigh
from aweigh.core.names import parse_reference
from aweigh.core.rollout import Compared
from aweigh.engine.strays import added, compared
from aweigh.store import Store

Start = Callable[..., Served]
OTHER = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)
"""The weights of version 2."""
RIGHT = {version: {"scores": np.array([ROW], np.float32) @ weights} for version, weights in (("1", WEIGHTS), ("2", OTHER))}
FAILING = (MAGIC, float(TROUBLES["value"]), 0.0, 1.0)
"""A row that version 3 fails on; the others answer it."""


@pytest.fixture(scope="module")
def versions(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`linear` in three versions: 2 has other weights, 3 those of 1 and a hook that fails when asked to."""
    folder = tmp_path_factory.mktemp("versions")
    shelf = shelf_of(home, folder)
    pack_next(shelf, folder)
    pack_hooked(shelf, folder, HOOK)
    return shelf


@pytest.fixture
def shelf(versions: Path, tmp_path: Path) -> Path:
    """A copy that the test may change."""
    return shelf_of(versions, tmp_path)


def pack_hooked(shelf: Path, folder: Path, hook: str) -> None:
    """Publish a next version with the weights of version 1 behind a hook."""
    made = folder / f"hooked-{len(list(folder.iterdir()))}"
    made.mkdir()
    (made / "rollout_hook.py").write_text(hook)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(made))
        sample = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
        aweigh.pack(str(linear(made)), "linear", sample=sample, pre="rollout_hook:pre", home=str(shelf))
    sys.modules.pop("rollout_hook", None)


def begin(server: Served, candidate: int, **plan: Any) -> dict[str, Any]:
    status, report = post(server, "/rollouts/linear", {"candidate": candidate, **plan})
    assert status == 200, report
    return report


def newest(server: Served) -> dict[str, Any]:
    """The report of the rollout that began last."""
    return json.loads(server.get("/rollouts/linear"))[0]


def ended(server: Served, within_s: float = 20.0) -> dict[str, Any]:
    """The same, once it has ended."""
    until = time.monotonic() + within_s
    while (report := newest(server))["state"] in ("loading", "running"):
        assert time.monotonic() < until, report
        time.sleep(0.02)
    return report


def live(shelf: Path) -> int | None:
    """The version that the alias names."""
    return Store(shelf / "store").aliases(parse_reference("linear").name).get("live")  # type: ignore[call-overload]  # an alias is a text


def answer_to(server: Served, row: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
    tensor = {"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [float(value) for value in row]}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/v2/models/linear/infer", json.dumps({"inputs": [tensor]}), headers or {})
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    assert answer.status == 200, document
    return document


def swap_again_and_again(server: Served, times: int, protocol: str) -> None:
    asking = Asking(right=RIGHT)
    capacity(server, asking, users=8, seconds=0.5, protocol=protocol)
    for candidate in (2, 1):
        begin(server, candidate)
    leaks = Leaks(server)
    with Load(server, asking, users=8, protocol=protocol) as load:
        for turn in range(times):
            assert begin(server, 2 - turn % 2)["state"] == "promoted"
    assert set(load.ends()) <= {"ok 200", "ok OK"}, load.told()
    assert set(load.versions()) == {"1", "2"}
    leaks.check()


@pytest.mark.parametrize(("workers", "protocol"), [("1", "http"), pytest.param("1", "grpc", marks=pytest.mark.slow), ("2", "http")])
def test_12_swaps_under_full_load_lose_nothing_and_mix_nothing(start: Start, shelf: Path, workers: str, protocol: str) -> None:
    swap_again_and_again(start("linear:1", "--workers", workers, where=shelf), 10, protocol)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_12_a_hundred_swaps(start: Start, shelf: Path, workers: str) -> None:
    swap_again_and_again(start("linear:1", "--workers", workers, where=shelf), 100, "http")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_13_a_candidate_that_cannot_serve_changes_nothing(start: Start, shelf: Path, workers: str) -> None:
    server = start("linear:1", "--workers", workers, where=shelf)
    blob = model_blob(shelf, "linear:2")
    good = blob.read_bytes()
    with Load(server, Asking(right=RIGHT), rate=100) as load:
        for spoilt in (good[: len(good) // 2], good.replace(OTHER.tobytes(), (OTHER * 1.5).astype(np.float32).tobytes())):
            blob.chmod(0o644)
            blob.write_bytes(spoilt)
            for plan in ({}, {"canary": 0.5}, {"shadow": 1}):
                status, said = post(server, "/rollouts/linear", {"candidate": 2, **plan})
                assert status >= 400, said
                report = newest(server)
                assert (report["state"], bool(report["why"]), live(shelf)) == ("refused", True, 1)
        blob.write_bytes(good)
    assert (load.lost, set(load.versions())) == ([], {"1"}), load.told()
    assert logged(server, "rollout refused")
    assert begin(server, 2)["state"] == "promoted"
    assert live(shelf) == 2


def test_13_a_candidate_that_fails_its_golden_set_on_this_machine_never_answers(start: Start, shelf: Path, tmp_path: Path) -> None:
    otherwise = tmp_path / "otherwise"
    pack_hooked(
        shelf,
        tmp_path,
        f"import os\ndef pre(tensors):\n    return {{'X': tensors['X'] * (2 if os.path.exists({str(otherwise)!r}) else 1)}}\n",
    )
    server = start("linear:1", where=shelf)
    otherwise.touch()
    with Load(server, rate=100) as load:
        status, said = post(server, "/rollouts/linear", {"candidate": 4, "canary": 0.5})
    assert status >= 400, said
    report = newest(server)
    assert (report["state"], live(shelf)) == ("refused", 1)
    assert "golden" in report["why"]
    assert (load.lost, set(load.versions())) == ([], {"1"}), load.told()
    otherwise.unlink()
    assert begin(server, 4)["state"] == "promoted"


@pytest.mark.parametrize(("workers", "protocol"), [("1", "http"), pytest.param("1", "grpc", marks=pytest.mark.slow), ("2", "http")])
def test_14_a_candidate_that_fails_a_fifth_is_rolled_back_and_costs_no_request(
    start: Start, shelf: Path, workers: str, protocol: str
) -> None:
    server = start("linear:1", "--workers", workers, where=shelf)
    begin(server, 3, canary=0.5)
    post(server, "/rollouts/linear/rollback")
    leaks = Leaks(server)
    right = {version: {"scores": np.array([row], np.float32) @ WEIGHTS} for version, row in (("1", FAILING), ("3", FAILING))}
    with (
        Load(server, Asking(), rate=80, protocol=protocol) as good,
        Load(server, Asking(row=FAILING, right=right), rate=20, protocol=protocol) as bad,
    ):
        begin(server, 3, canary=0.5, bounds={"requests": 50, "latency": None})
        report = ended(server)
        time.sleep(0.3)
    assert (report["state"], live(shelf)) == ("rolled back", 1)
    assert "failed" in report["why"]
    assert report["errors"], report
    stable, candidate = report["versions"]
    assert 0 < candidate["failed"] <= candidate["requests"] <= 100, "it was ended long after it could be judged"
    assert not stable["failed"]
    assert not good.lost, good.told()
    assert (bad.lost, bad.of("refused"), set(bad.versions())) == ([], [], {"1"}), "the stable version answers what the candidate fails"
    leaks.check()


def test_14_a_slow_candidate_is_rolled_back(start: Start, shelf: Path, tmp_path: Path) -> None:
    pack_hooked(shelf, tmp_path, "import time\ndef pre(tensors):\n    time.sleep(0.05)\n    return tensors\n")
    server = start("linear:1", where=shelf)
    with Load(server, rate=60) as load:
        begin(server, 4, canary=0.3, bounds={"requests": 30, "latency": 3})
        report = ended(server)
    assert (report["state"], live(shelf)) == ("rolled back", 1)
    assert "its p95 is" in report["why"]
    assert not load.lost, load.told()


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_a_candidate_that_answers_otherwise_is_rolled_back_with_the_inputs_that_show_it(start: Start, shelf: Path, workers: str) -> None:
    server = start("linear:1", "--workers", workers, where=shelf)
    with Load(server, rate=50) as load:
        begin(server, 2, shadow=1, bounds={"difference": 0.5})
        report = ended(server)
    assert (report["state"], live(shelf)) == ("rolled back", 1)
    assert report["why"].startswith("an answer differs by")
    assert report["compared"]["max_abs"] > 0.5
    [offence, *_] = report["compared"]["offences"]
    assert offence["inputs"] == "X=[1.0, 2.0, 3.0, 4.0]"
    assert offence["stable"]["scores"] != offence["candidate"]["scores"]
    assert (load.lost, set(load.versions())) == ([], {"1"}), load.told()


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_what_a_shadow_finds_is_what_an_offline_comparison_finds(start: Start, shelf: Path, workers: str) -> None:
    server = start("linear:1", "--workers", workers, where=shelf)
    begin(server, 2, shadow=1, bounds={"flips": None, "latency": None})
    rows = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
    for row in rows:
        assert answer_to(server, row)["model_version"] == "1"
    until = time.monotonic() + 10
    while (found := newest(server)["compared"])["calls"] < len(rows) and time.monotonic() < until:
        time.sleep(0.05)
    offline = offline_comparison(shelf, rows)
    assert (found["calls"], found["rows"], found["flips"], found["mismatches"]) == (60, offline.rows, offline.flips, offline.mismatches)
    assert found["max_abs"] == pytest.approx(offline.max_abs)
    assert found["sum_abs"] == pytest.approx(offline.sum_abs)
    assert [each["inputs"] for each in found["offences"]] == [each.inputs for each in offline.offences]
    assert found["skipped"] == found["failed"] == 0


def offline_comparison(shelf: Path, rows: np.ndarray) -> Compared:
    """The same figures, from both versions loaded beside the server."""
    one, other = (aweigh.load(f"linear:{number}", home=str(shelf)) for number in (1, 2))
    try:
        signature = Store(shelf / "store").open(parse_reference("linear:1")).manifest.signature
        return added(
            compared(
                signature, {"X": row[None]}, *([each.infer({"X": row[None]})[name] for name in ("best", "scores")] for each in (one, other))
            )
            for row in rows
        )
    finally:
        one.close()
        other.close()


def test_13_a_candidate_that_takes_other_inputs_is_not_tried(start: Start, shelf: Path, tmp_path: Path) -> None:
    aweigh.pack(str(words(tmp_path)), "linear", home=str(shelf))
    server = start("linear:1", where=shelf)
    status, said = post(server, "/rollouts/linear", {"candidate": 4, "canary": 0.5})
    assert (status, said["error"]) == (409, "version 4 of 'linear' cannot be tried beside version 1: it has no input 'X'")


def test_a_canary_gets_its_share_and_a_sticky_client_stays(start: Start, shelf: Path) -> None:
    server = start("linear:1", where=shelf)
    begin(server, 2, canary=0.25, sticky="x-user", bounds={"errors": None, "latency": None})
    dealt = [answer_to(server, ROW)["model_version"] for _ in range(200)]
    assert abs(dealt.count("2") - 50) <= 2, "requests without the header are dealt out evenly"
    users = {f"user-{number}": answer_to(server, ROW, {"X-User": f"user-{number}"})["model_version"] for number in range(200)}
    of_candidate = sum(version == "2" for version in users.values())
    assert abs(of_candidate - 50) <= 4 * (200 * 0.25 * 0.75) ** 0.5
    for user, version in list(users.items())[:40]:
        assert answer_to(server, ROW, {"X-User": user})["model_version"] == version


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_state_survives_kill_9_of_everything(start: Start, shelf: Path, workers: str) -> None:
    words = ("linear", "--workers", workers)
    server = start("linear:1", "--workers", workers, where=shelf)
    begin(server, 2, canary=0.5, sticky="x-user")
    users = {f"user-{number}": answer_to(server, ROW, {"x-user": f"user-{number}"})["model_version"] for number in range(40)}
    server.end(signal.SIGKILL)
    again = start(*words, where=shelf)
    assert answer_to(again, ROW)["model_version"] in ("1", "2"), "ready while the candidate is loaded again"
    until(lambda: newest(again)["state"] != "loading", 20)
    report = newest(again)
    assert (report["state"], report["stable"], report["plan"]["candidate"], live(shelf)) == ("running", 1, 2, 1)
    assert {user: answer_to(again, ROW, {"x-user": user})["model_version"] for user in users} == users
    assert post(again, "/rollouts/linear/promote")[1]["state"] == "promoted"
    again.end(signal.SIGKILL)
    third = start(*words, where=shelf)
    assert answer_to(third, ROW)["model_version"] == "2"
    assert post(third, "/rollouts/linear/rollback")[0] == 200
    assert (answer_to(third, ROW)["model_version"], live(shelf)) == ("1", 1)
    shutil.rmtree(shelf / "rollouts")
    assert json.loads(third.get("/rollouts")) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_while_a_candidate_is_loaded_after_a_restart_the_server_answers_and_can_be_stopped(
    start: Start, shelf: Path, tmp_path: Path, workers: str
) -> None:
    slow = tmp_path / "slow"
    pack_hooked(shelf, tmp_path, f"import os, time\ntime.sleep(60 if os.path.exists({str(slow)!r}) else 0)\n{HOOK}")
    server = start("linear:1", "--workers", workers, where=shelf)
    begin(server, 4, canary=0.5)
    server.end(signal.SIGKILL)
    slow.touch()
    again = start("linear", "--workers", workers, where=shelf)
    assert {answer_to(again, ROW)["model_version"] for _ in range(10)} == {"1"}
    assert newest(again)["state"] == "loading"
    began = time.monotonic()
    assert again.end() == 0
    assert time.monotonic() - began < 20
    slow.unlink()
    third = start("linear", "--workers", workers, where=shelf)
    until(lambda: newest(third)["state"] == "running", 20)
    assert {answer_to(third, ROW)["model_version"] for _ in range(10)} == {"1", "4"}


def test_a_candidate_that_is_gone_from_the_store_keeps_no_worker_from_coming_back(start: Start, shelf: Path) -> None:
    server = start("linear:1", "--workers", "2", where=shelf)
    begin(server, 2, canary=0.5)
    model_blob(shelf, "linear:2").unlink()
    for _ in range(2):  # one after the other: at the end, both are new
        victim = pids(server)[0]
        kill(victim)
        until(lambda gone=victim: gone not in pids(server) and len(pids(server)) == 2, 20)  # type: ignore[misc]
    assert {answer_to(server, ROW)["model_version"] for _ in range(20)} <= {"1", "2"}
    assert post(server, "/rollouts/linear/rollback")[1]["state"] == "rolled back"
    assert {answer_to(server, ROW)["model_version"] for _ in range(10)} == {"1"}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_loaded_on_first_use_can_be_rolled_out_before_that(start: Start, shelf: Path, workers: str) -> None:
    server = start("linear:1", "--workers", workers, where=shelf, environment={"AWEIGH_LOAD_ON_FIRST_USE": "true"})
    before = pids(server) if workers == "2" else []
    begin(server, 2, canary=0.5)
    assert {answer_to(server, ROW)["model_version"] for _ in range(20)} == {"1", "2"}
    assert post(server, "/rollouts/linear/promote")[1]["state"] == "promoted"
    assert {answer_to(server, ROW)["model_version"] for _ in range(10)} == {"2"}
    assert workers == "1" or pids(server) == before, "no worker ended for it"


def test_a_candidate_whose_workers_end_again_and_again_is_rolled_back(start: Start, shelf: Path) -> None:
    server = start("linear:1", "--workers", "2", where=shelf)
    begin(server, 2, canary=0.5)
    for _ in range(3):  # as a crash inside the candidate would
        victim = pids(server)[0]
        kill(victim)
        until(lambda gone=victim: gone not in pids(server) and pids(server), 20)  # type: ignore[misc]
    report = ended(server)
    assert (report["state"], report["why"]) == (
        "rolled back",
        "3 workers ended within minutes while it was tried; the server's log says how",
    )
    assert {answer_to(server, ROW)["model_version"] for _ in range(10)} == {"1"}

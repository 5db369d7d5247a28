"""A name is moved from version to version by the installed command and by Triton's own clients, while requests go on."""

import http.client
import json
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tests.serving.kit import INFER
from tests.serving.models import WEIGHTS, linear
from tests.serving.served import AWEIGH, Served

import aweigh
from aweigh.protos import message

ROW = [1.0, 2.0, 3.0, 4.0]
SERVICE = INFER.rpartition("/")[0]


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `linear` in three versions: 2 answers nearly as 1 does, 3 has other labels."""
    folder = tmp_path_factory.mktemp("versions")
    sample = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
    for weights in (WEIGHTS, WEIGHTS * np.float32(1.0001), -WEIGHTS):
        aweigh.pack(str(linear(folder, weights)), "linear", sample=sample, home=str(folder / "home"))
    return folder / "home"


@pytest.fixture
def shelf(versions: Path, tmp_path: Path) -> Path:
    """A copy of it: what is live stands in the store."""
    shutil.copytree(versions, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def server(shelf: Path) -> Iterator[Served]:
    started = Served(shelf, "linear:1")
    yield started
    assert started.end() == 0, started.log


class Asking:
    """A client that asks all the time: who answered, and what was lost."""

    def __init__(self, server: Served) -> None:
        self._port = server.port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.versions: Counter[str] = Counter()
        self.lost: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert not self.lost, self.lost[:3]

    def _run(self) -> None:
        random = np.random.default_rng(3)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._stop.is_set():
            row = random.normal(size=4).tolist()
            document = {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": row}]}
            connection.request("POST", "/v2/models/linear/infer", json.dumps(document))
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 200:
                self.versions[json.loads(body)["model_version"]] += 1
            else:
                self.lost.append(body.decode())
            time.sleep(0.001)
        connection.close()


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(server: Served, shelf: Path) -> Command:
    """The installed command against the server: exit status and all that it printed."""

    def run(*words: str, port: int | None = None) -> tuple[int, str]:
        environment = {"PATH": "/usr/bin:/bin", "AWEIGH_HOME": str(shelf), "AWEIGH_PORT": str(port or server.port)}
        done = subprocess.run(
            [str(AWEIGH), *words], env=environment, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
        return done.returncode, done.stdout + done.stderr

    return run


def answering(server: Served) -> str:
    """The version that a bare name means."""
    return str(ask(server)["model_version"])


def ask(server: Served, headers: dict[str, str] | None = None) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    document = {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": ROW}]}
    connection.request("POST", "/v2/models/linear/infer", json.dumps(document), headers or {})
    answer = dict(json.loads(connection.getresponse().read()))
    connection.close()
    return answer


def test_a_canary_promotes_itself_and_rollback_goes_back(server: Served, command: Command) -> None:
    with Asking(server) as asking:
        code, said = command("promote", "linear:2", "--canary", "50%", "--promote-after", "150", "--timeout", "30")
        assert code == 0, said
        assert "version 2, beside version 1: promoted after" in said
        assert "within its bounds for 150 requests" in said
        assert asking.versions["1"] > 20
        assert asking.versions["2"] >= 150
        assert answering(server) == "2"
        code, said = command("rollback", "linear")
        assert (code, answering(server)) == (0, "1"), said
        assert "gone back to by request" in said
    code, said = command("rollouts", "linear")
    assert code == 0
    assert "before that" in said


def test_a_shadow_that_answers_otherwise_is_rolled_back_with_the_rows(server: Served, command: Command) -> None:
    with Asking(server) as asking:
        code, said = command("promote", "linear:3", "--shadow", "--promote-after", "100000", "--timeout", "30")
        assert code == 1, said
        assert "rows got another label; allowed are 5.00%" in said
        assert "another label: X=[" in said
        assert "version 3 (candidate): best" in said
        assert asking.versions.keys() == {"1"}
    code, said = command("rollouts", "--json")
    report = json.loads(said)[0]
    assert (report["state"], report["plan"]["candidate"], len(report["compared"]["offences"])) == ("rolled back", 3, 5)


def test_a_rollout_is_begun_left_alone_and_promoted(server: Served, command: Command) -> None:
    code, said = command("promote", "linear:2", "--canary", "10%", "--sticky", "x-user")
    assert code == 0, said
    assert "running for" in said
    assert "aweigh promote linear" in said
    users = {user: {ask(server, {"x-user": user})["model_version"] for _ in range(3)} for user in map(str, range(60))}
    assert all(len(versions) == 1 for versions in users.values())
    assert 0 < sum(versions == {"2"} for versions in users.values()) < 30
    code, said = command("status")
    assert "linear: version 2, beside version 1" in said
    metrics = server.get("/metrics").decode()
    assert 'aweigh_rollout_info{model="linear",stable="1",candidate="2",state="running"} 1' in metrics
    assert 'aweigh_rollout_candidate_share{model="linear",candidate="2"} 0.1' in metrics
    code, said = command("promote", "linear:3", "--canary", "5%")
    assert (code, "is being rolled out to version 2" in said) == (1, True)
    code, said = command("promote", "linear", "--json")
    assert (code, json.loads(said)["state"]) == (0, "promoted")
    assert answering(server) == "2"
    assert 'aweigh_rollout_ended_timestamp_seconds{model="linear",candidate="2",outcome="promoted"}' in server.get("/metrics").decode()


def test_without_a_version_the_newest_is_promoted_and_what_is_live_stays_so_after_a_restart(
    server: Served, command: Command, shelf: Path
) -> None:
    assert command("promote", "linear")[0] == 0
    assert answering(server) == "3"
    code, said = command("promote", "linear:3")
    assert (code, "is live already: nothing was changed" in said) == (0, True)
    assert command("rollback", "linear")[0] == 0
    assert server.end() == 0
    again = Served(shelf, "linear")
    assert answering(again) == "1"
    again.end()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("promote", "linear:9"), 3, "there is no version 9 of 'linear'"),
        (("promote", "other"), 3, "there is no model 'other'"),
        (("promote", "linear:2", "--canary", "110%"), 2, "--canary is '110%': expected a share from 0% to 100%"),
        (("promote", "linear:1", "--canary", "10%"), 1, "version 1 of 'linear' is the one that answers"),
        (("promote", "linear:2", "--promote-after", "10"), 2, "promote_after without canary or shadow"),
        (("promote", "linear@live"), 2, "names a version by an alias"),
        (("promote", "linear:2", "--store-only", "--canary", "1%"), 2, "--store-only tries nothing out"),
        (("rollback", "linear"), 3, "has no rollout to go back from"),
        (("rollouts", "other"), 3, "unknown model: 'other'"),
        (("rollouts", "--watch"), 2, "--watch follows one model"),
        (("promote", "linear:2", "--url", "gopher://x"), 2, "is no address of a server"),
    ],
)
def test_mistakes(versions: Path, words: tuple[str, ...], code: int, message: str, unchanged: Served) -> None:
    environment = {"PATH": "/usr/bin:/bin", "AWEIGH_HOME": str(versions), "AWEIGH_PORT": str(unchanged.port)}
    done = subprocess.run([str(AWEIGH), *words], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stderr.count("error:") == 1


@pytest.fixture(scope="module")
def unchanged(versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    started = Served(shutil.copytree(versions, tmp_path_factory.mktemp("unchanged") / "home"), "linear:1")
    yield started
    started.end()


def test_a_server_that_asks_for_a_key(shelf: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("me:right-right-right\n")
    started = Served(shelf, "linear:1", "--api-key-file", str(keys))
    environment = {"PATH": "/usr/bin:/bin", "AWEIGH_HOME": str(shelf), "AWEIGH_PORT": str(started.port)}
    run = lambda *words: subprocess.run([str(AWEIGH), *words], env=environment, capture_output=True, text=True, timeout=60, check=False)  # noqa: E731
    refused = run("promote", "linear:2")
    assert (refused.returncode, "asks for an API key" in refused.stderr) == (1, True)
    assert run("promote", "linear:2", "--api-key-file", str(keys)).returncode == 0
    with aweigh.Client(started.url, api_key="right-right-right") as client:
        assert client.rollouts("linear")[0].state == "promoted"
    started.end()


def test_without_a_server_the_store_is_changed(shelf: Path, command: Command, server: Served) -> None:
    code, said = command("promote", "linear:2", port=1)
    assert (code, "no server answers at http://127.0.0.1:1" in said, "--store-only" in said) == (4, True, True)
    assert server.end() == 0
    assert command("promote", "linear:2", "--store-only")[0] == 0
    code, said = command("rollback", "linear", "--store-only")
    assert code == 0
    assert "version 3, beside version 2" in said  # the newest was what a bare name meant before
    assert "gone back to in the store" in said
    assert command("promote", "linear:1", "--store-only")[0] == 0
    again = Served(shelf, "linear")
    assert answering(again) == "1"
    again.end()


def test_a_client_in_python(server: Served) -> None:
    with aweigh.Client(server.url) as client:
        begun = client.promote("linear", 2, canary=0.5, sticky="x-user")
        assert (begun.state, begun.stable, begun.open) == ("running", 1, True)
        assert [report.plan.candidate for report in client.rollouts()] == [2]
        assert client.promote("linear").state == "promoted"
        assert client.rollback("linear").plan.candidate == 1
        with pytest.raises(aweigh.AweighError, match="there is no version 9"):
            client.promote("linear", 9)
    with aweigh.Client(server.url.replace("http", "grpc")) as client, pytest.raises(aweigh.AweighError, match="asked for over REST"):
        client.rollouts()


@pytest.mark.parametrize("module", [triton_http, triton_grpc], ids=["http", "grpc"])
def test_triton_clients_begin_and_end_a_rollout(server: Served, module: Any) -> None:
    config = {"version_policy": {"specific": {"versions": [2]}}, "parameters": {"canary": {"string_value": "30%"}}}
    with module.InferenceServerClient(server.target) as client:
        client.load_model("linear", config=json.dumps(config))
        index = client.get_model_repository_index()
        lines = index if module is triton_http else [{"version": m.version, "state": m.state, "reason": m.reason} for m in index.models]
        line = next(line for line in lines if line["version"] == "2")
        assert (line["state"], line["reason"]) == ("READY", "candidate: 30% of requests")
        with pytest.raises(module.InferenceServerException, match="is being rolled out"):
            client.load_model("linear")
        client.load_model("linear", config=json.dumps({"parameters": {"promote": {"string_value": "true"}}}))
    assert answering(server) == "2"


def test_both_doors_take_the_parameters_as_they_are(server: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    load = {"parameters": {"version": "2", "canary": 0.25, "bounds": {"errors": 0.5}}}
    connection.request("POST", "/v2/repository/models/linear/load", json.dumps(load))
    assert connection.getresponse().read() == b""
    with grpc.insecure_channel(server.target) as channel:
        unload = message("inference.RepositoryModelUnloadRequest")(model_name="linear")
        unload.parameters["rollback"].bool_param = True
        call = channel.unary_unary(f"{SERVICE}/RepositoryModelUnload")
        call(unload.SerializeToString(), timeout=30)
    connection.request("GET", "/rollouts/linear")
    report = json.loads(connection.getresponse().read())[0]
    assert (report["state"], report["plan"]["canary"], report["plan"]["bounds"]["errors"]) == ("rolled back", 0.25, 0.5)
    connection.close()
    assert answering(server) == "1"

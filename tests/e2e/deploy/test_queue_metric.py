"""The autoscaler's second metric on a real server: requests that wait, as the rendered rule for prometheus-adapter reckons them, follow the load.

Users who each wait for their answer: of N users of one thread one is answered and N - 1 wait (Little's law), whatever the machine's speed.
"""

import re
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.deploying.packages import publish
from tests.serving.models import dear
from tests.serving.served import Served
from tests.unit.deploy.jobs import job, target

import aweigh

SECONDS = 3.0
X = np.array([[1, 2, 3, 4]], dtype=np.float32)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of some milliseconds, which runs on a thread."""
    folder = tmp_path_factory.mktemp("queue")
    publish(folder, "dear", onnx.load(dear(folder, name="source")))
    return folder


def waited_s(server: Served, series: str) -> tuple[float, float]:
    """What Prometheus would read, and when."""
    found = re.search(rf"^{series}\{{[^}}]*\}} (\S+)$", server.get("/metrics").decode(), re.MULTILINE)
    assert found is not None
    return float(found[1]), time.monotonic()


def waiting(server: Served, series: str, users: int) -> float:
    """rate(series), while so many users ask."""
    stop = threading.Event()

    def ask() -> None:
        with aweigh.Client(server.url, timeout_s=20) as client:
            while not stop.is_set():
                client.infer("dear", {"X": X})

    threads = [threading.Thread(target=ask) for _ in range(users)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        before, began = waited_s(server, series)
        time.sleep(SECONDS)
        after, ended = waited_s(server, series)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    return (after - before) / (ended - began)


@pytest.mark.slow
@pytest.mark.alone
def test_requests_that_wait_follow_the_load(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    rendered = target("kubernetes").render(job(tmp_path, "kubernetes")).files["components/monitoring/adapter-rules.yaml"]
    found = re.search(rb"seriesQuery: \"(\w+)\{", bytes(rendered) if isinstance(rendered, bytes) else b"")
    assert found is not None
    series = found[1].decode()
    monkeypatch.undo()
    server = Served(home, "dear", "--threads", "1", "--batching", "off")
    try:
        idle, one, nine = (waiting(server, series, users) for users in (0, 1, 9))
    finally:
        server.end()
    assert idle == 0
    assert one < 0.3
    assert 6 < nine < 9, "of nine users eight wait, less what the users take themselves"

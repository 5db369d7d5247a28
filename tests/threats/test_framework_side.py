"""The side of packing that runs what a source brings: it reaches nobody, takes no more than its memory, ends at its time, and the caller goes on."""

import socket
import textwrap
from pathlib import Path

import numpy as np
import pytest

from aweigh.core.errors import AweighError, ChildDied, DeadlineExceeded
from aweigh.isolate import Caps
from aweigh.packing import PackRequest, pack
from aweigh.verify import prove

ROWS = np.random.default_rng(0).normal(size=(20, 3))
REACHES = """
    import socket

    class Model:
        def predict(self, rows):
            with socket.create_connection(("127.0.0.1", {port}), timeout=5) as connection:
                connection.sendall(b"rows")
            return rows
"""
STARTS = """
    import subprocess, sys

    class Model:
        def predict(self, rows):
            words = "import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5).sendall(b'rows')"
            subprocess.run([sys.executable, "-c", words], check=True, capture_output=True)
            return rows
"""
GROWS = """
    class Model:
        def predict(self, rows):
            kept = []
            while True:
                kept.append(bytearray(64 * 1024 * 1024))
"""
HANGS = """
    class Model:
        def predict(self, rows):
            while True:
                pass
"""


def packed(folder: Path, code: str, timeout_s: float = 60.0) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "model.py").write_text(textwrap.dedent(code))
    caps = Caps(memory_bytes=3 * 1024**3, timeout_s=timeout_s)
    pack(folder / "mine", PackRequest(prove=prove, sample=ROWS, trust=True, factory="model:Model", caps=caps))


@pytest.mark.parametrize("code", [REACHES, STARTS], ids=["itself", "by what it starts"])
def test_it_reaches_nobody(tmp_path: Path, code: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        with pytest.raises(AweighError, match="predict failed: "):
            packed(tmp_path, code.format(port=server.getsockname()[1]))
        with pytest.raises(TimeoutError):
            server.accept()


def test_what_grows_is_ended_at_its_memory(tmp_path: Path) -> None:
    with pytest.raises(ChildDied, match="exceeded 3072 MiB") as caught:
        packed(tmp_path, GROWS)
    assert "child_memory_bytes" in caught.value.hint


def test_what_hangs_is_ended_at_its_time(tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded, match="longer than 8 s") as caught:
        packed(tmp_path, HANGS, timeout_s=8.0)
    assert "child_timeout_s" in caught.value.hint

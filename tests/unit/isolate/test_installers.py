"""Installers: uv is told what pip is configured with, its cache is asked first, and where it fails Python's own venv and pip are tried."""

import base64
import functools
import hashlib
import http.server
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aweigh.core.errors import MissingLibrary
from aweigh.isolate import installers

WHEEL = "tiny_anchor-1.0-py3-none-any.whl"
FOR_PIP = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONFIG_FILE")
FOR_UV = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
NOWHERE = "http://127.0.0.1:9/simple/"
Index = tuple[str, str, list[str]]
"""Its address, the digest of its one package, and the paths that were asked for."""


@pytest.fixture(autouse=True)
def unconfigured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's configuration, and a cache of its own."""
    for name in (*FOR_PIP, *FOR_UV):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(installers, "_configured", functools.partial(configured, tmp_path / "pip.conf"))
    for name in ("UV_CACHE_DIR", "PIP_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def configured(file: Path, name: str) -> list[str]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip() == name]


def listed(folder: Path, digest: str) -> Path:
    place = folder / "tiny.txt"
    place.write_text(f"tiny-anchor==1.0 --hash=sha256:{digest}\n")
    return place


def write_wheel(place: Path) -> str:
    """A package of one line; its digest."""
    info = "tiny_anchor-1.0.dist-info"
    files = {
        "tiny_anchor.py": "WEIGHT = 7\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-anchor\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
    with zipfile.ZipFile(place, "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(name, text)
    return hashlib.sha256(place.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """A package index on loopback."""
    page = tmp_path / "site" / "simple" / "tiny-anchor"
    page.mkdir(parents=True)
    digest = write_wheel(page / WHEEL)
    (page / "index.html").write_text(f'<!DOCTYPE html><html><body><a href="{WHEEL}#sha256={digest}">{WHEEL}</a></body></html>')
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple/", digest, asked
    server.shutdown()
    thread.join()
    server.server_close()


def weight(folder: Path) -> str:
    command = [folder / "bin" / "python", "-c", "import tiny_anchor; print(tiny_anchor.WEIGHT)"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


@pytest.mark.parametrize("way", ["variable", "file"])
def test_uv_asks_the_indices_that_pip_is_configured_with(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    url, digest, asked = index
    if way == "variable":
        monkeypatch.setenv("PIP_INDEX_URL", url)
    else:
        (tmp_path / "pip.conf").write_text(f"index-url = {url}\n")
    monkeypatch.setattr(installers, "_by_pip", None)
    installers.install("tiny", listed(tmp_path, digest), tmp_path / "made")
    assert weight(tmp_path / "made") == "7"
    assert asked
    asked.clear()
    installers.install("tiny", listed(tmp_path, digest), tmp_path / "again")
    assert weight(tmp_path / "again") == "7"
    assert asked == []  # what the cache has is not asked for


def test_what_is_set_for_uv_itself_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert installers.indices() == {}
    (tmp_path / "pip.conf").write_text("index-url = https://one.example/simple\nextra-index-url = https://two.example/simple\n")
    best = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    assert installers.indices() == {**best, "UV_DEFAULT_INDEX": "https://one.example/simple", "UV_INDEX": "https://two.example/simple"}
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://three.example/simple https://four.example/simple")
    assert installers.indices()["UV_INDEX"] == "https://three.example/simple https://four.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example/simple")
    assert "UV_DEFAULT_INDEX" not in installers.indices()
    monkeypatch.setenv("UV_EXTRA_INDEX_URL", "https://own.example/more")
    assert installers.indices() == {}


def test_where_uv_fails_pip_is_tried(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, digest, _ = index
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("UV_DEFAULT_INDEX", NOWHERE)
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "2")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    installers.install("tiny", listed(tmp_path, digest), tmp_path / "made")
    assert weight(tmp_path / "made") == "7"


def test_where_both_fail_both_say_why(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index[0])
    wrong = listed(tmp_path, "0" * 64)
    wrong.write_text(f"torch==2.9.0+cpu --hash=sha256:{'0' * 64}\n")
    with pytest.raises(
        MissingLibrary, match=r"'torch' cannot be made: uv: [^~]*torch==2\.9\.0\+cpu[^~]*; pip: [^~]*torch==2\.9\.0\+cpu"
    ) as caught:
        installers.install("torch", wrong, tmp_path / "torch")
    assert "PyTorch's index of builds for processors" in caught.value.hint
    assert "PIP_EXTRA_INDEX_URL" in caught.value.hint


def test_folders_of_wheels_that_pip_knows_are_told_to_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path} {tmp_path}")
    (tmp_path / "pip.conf").write_text("find-links = /wheels\n")
    assert installers.find_links() == ["--find-links", str(tmp_path), "--find-links", "/wheels"]

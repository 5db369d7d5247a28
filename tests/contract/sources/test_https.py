"""Files over https: pinned, bounded, and nobody is asked who may not be (A13)."""

import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.contract.sources.conftest import Site

from aweigh.core.errors import AweighError, InvalidFile, InvalidInput, NotFound, Refused, TooLarge, Unavailable
from aweigh.sources import scheme_of
from aweigh.sources.web import fetch_https

DATA = b"a model" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_a_file_comes_with_its_digest(site: Site, tmp_path: Path) -> None:
    found = fetch_https(site.put("/models/m%20one.onnx", DATA), tmp_path, site.terms())
    assert found.path == tmp_path / "m one.onnx"
    assert found.path.read_bytes() == DATA
    assert found.origin == f"{site.url}/models/m%20one.onnx#sha256={DIGEST}"
    assert "Authorization" not in site.asked[0][1]


def test_a_pin_is_held_to(site: Site, tmp_path: Path) -> None:
    url = site.put("/m.onnx", DATA)
    assert fetch_https(f"{url}#sha256={DIGEST}", tmp_path / "a", site.terms()).path.read_bytes() == DATA
    with pytest.raises(InvalidFile, match=DIGEST):
        fetch_https(f"{url}#sha256={'0' * 64}", tmp_path / "b", site.terms())
    with pytest.raises(InvalidInput, match="no digest"):
        fetch_https(f"{url}#md5=0", tmp_path / "c", site.terms())


INSIDE = [
    "127.0.0.1",
    "[::1]",
    "0x7f.1",
    "2130706433",
    "169.254.169.254",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "10.0.0.1",
    "0.0.0.0",
    "localhost",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
]


@pytest.mark.parametrize("host", INSIDE)
def test_no_host_inside_is_asked(site: Site, tmp_path: Path, host: str) -> None:
    site.put("/m.onnx", DATA)
    with pytest.raises((Refused, Unavailable)):
        fetch_https(f"https://{host}:{site.port}/m.onnx", tmp_path, site.terms(private_hosts=()))
    assert site.asked == []
    assert list(tmp_path.rglob("m.onnx*")) == []


@pytest.mark.parametrize(
    "place",
    [
        "https://127.0.0.1:{port}/m",
        "http://localhost:{port}/m",
        "file:///etc/passwd",
        "https://169.254.169.254/m",
        "https://a@localhost:{port}/m",
        "https://localhost:99999/m",
        "",
    ],
)
def test_a_redirect_is_checked_again(site: Site, tmp_path: Path, place: str) -> None:
    site.put("/m", DATA)
    site.put("/start", b"", 302, Location=place.format(port=site.port))
    with pytest.raises(Refused):
        fetch_https(f"{site.url}/start", tmp_path, site.terms())
    assert {path for path, _ in site.asked} == {"/start"}


def test_a_redirect_to_where_one_may_go(site: Site, tmp_path: Path) -> None:
    site.put("/elsewhere", DATA)
    assert fetch_https(site.put("/m.onnx", b"", 307, Location="/elsewhere"), tmp_path, site.terms()).path.read_bytes() == DATA


def test_a_name_that_changes_its_mind_is_asked_once(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Public when it is checked, private when it would be connected to: the address that was checked is the one that is used."""
    real, looked, connected = socket.getaddrinfo, [], []

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "rebinding.example":
            looked.append(host)
            return real("127.0.0.1" if len(looked) > 1 else "8.8.8.8", *rest, **more)
        connected.append(host)
        raise OSError("the test lets nobody out")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(Unavailable):
        fetch_https(f"https://rebinding.example:{site.port}/m", tmp_path, site.terms(private_hosts=()))
    assert looked == ["rebinding.example"]
    assert set(connected) <= {"8.8.8.8"}
    assert site.asked == []


def test_too_much_is_not_taken(site: Site, tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match=r"max_source_bytes|more than the 100"):
        fetch_https(site.put("/m.onnx", DATA), tmp_path, site.terms(max_bytes=100))
    assert list(tmp_path.rglob("*m.onnx*")) == []


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (500, Unavailable), (304, AweighError)])
def test_what_is_not_there(site: Site, tmp_path: Path, status: int, kind: type[AweighError]) -> None:
    with pytest.raises(kind):
        fetch_https(site.put("/m.onnx", b"", status), tmp_path, site.terms())


def test_half_a_file_is_none(site: Site, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        fetch_https(site.put("/m.onnx", DATA, Content_Length=str(len(DATA) + 10)), tmp_path, site.terms(timeout_s=2.0))
    assert list(tmp_path.rglob("*m.onnx*")) == []


@pytest.mark.parametrize("name", ["..%2F..%2Fx", "%2E%2E", "a%00b", "a%5Cb", "a%2Fb"])
def test_no_name_leads_out(site: Site, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in" / "here"
    try:
        found = fetch_https(site.put(f"/{name}", DATA), folder, site.terms())
    except (InvalidFile, NotFound):
        return
    assert found.path.parent == folder


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/mod%C3%A8le%20(1),v2.onnx", "modèle (1),v2.onnx"), ("/a%2Fb.onnx", "b.onnx"), ("/a%5Cb.onnx", "model.onnx"), ("/" + "x" * 300 + ".onnx", "model.onnx"),
        ("/%2E%2E", "model"), ("/a%00b.onnx", "model.onnx"), ("/folder/", "model"), ("/%1B.%1B", "model"),
    ],
)  # fmt: skip
def test_what_the_file_is_called_here(site: Site, tmp_path: Path, path: str, name: str) -> None:
    found = fetch_https(site.put(path, DATA), tmp_path, site.terms())
    assert (found.path.parent, found.path.name, found.path.read_bytes()) == (tmp_path, name, DATA)


def test_endless_redirects_and_plain_http(site: Site, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="redirects"):
        fetch_https(site.put("/m", b"", 302, Location="/m"), tmp_path, site.terms())
    with pytest.raises(Refused, match="https alone"):
        fetch_https("http://example.org/m", tmp_path, site.terms())


@pytest.mark.parametrize("text", ["file:///etc/passwd", "ftp://x/y", "gopher://x", "hf+x://a/b"])
def test_other_schemes_are_named(text: str) -> None:
    with pytest.raises(InvalidInput, match="no scheme"):
        scheme_of(text)

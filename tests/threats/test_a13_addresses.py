"""A13: addresses of models. Whoever is inside is not asked, by any scheme; whoever is asked may send without end, or without haste, and gets neither."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aweigh.app.fetching import fetch
from aweigh.core.errors import AweighError, InvalidInput, Refused, TooLarge, Unavailable, Unsupported
from aweigh.core.settings import Settings
from aweigh.sources import Terms
from aweigh.sources.hub import fetch_hub
from aweigh.sources.web import fetch_https

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
Speech = Callable[[socket.socket], None]


class Listener:
    """A server of raw bytes: counts who connects, and says one thing."""

    def __init__(self, speech: Speech) -> None:
        self.hits = 0
        self._speech = speech
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.hits += 1
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    connection.recv(65536)
                    self._speech(connection)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def terms(self, **said: float) -> Terms:
        given = {"max_bytes": 1_000_000, "timeout_s": 1.0, **said}
        return Terms(plain_http=True, private_hosts=("127.0.0.1",), hub=f"http://127.0.0.1:{self.port}", **given)  # type: ignore[arg-type]


@pytest.fixture
def listening() -> Iterator[Callable[[Speech], Listener]]:
    started: list[Listener] = []

    def listen(speech: Speech) -> Listener:
        started.append(Listener(speech))
        return started[-1]

    yield listen
    for each in started:
        each.close()


def endless(start: bytes, piece: bytes, pause_s: float = 0.0) -> Speech:
    def speak(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)
            time.sleep(pause_s)

    return speak


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1:{port}/m.onnx",
        "https://localhost:{port}/m.onnx",
        "http://127.0.0.1:{port}/m.onnx",
        "git+https://127.0.0.1:{port}/models.git",
        "git+https://localhost:{port}/models.git#m.onnx",
        "git+https://2130706433:{port}/models.git",
        "oci://127.0.0.1:{port}/team/net:v1",
        "oci://localhost:{port}/team/net:v1",
        "oci://[::1]:{port}/team/net:v1",
        "oci://169.254.169.254/latest/meta-data:v1",
        "hf://team/net",
        "file:///etc/passwd",
        "git+ssh://127.0.0.1:{port}/models.git",
    ],
)
def test_nobody_inside_is_asked_by_any_scheme(listening: Callable[[Speech], Listener], tmp_path: Path, address: str) -> None:
    """Although whoever asks has switched plain http on, and names a hub that is inside."""
    server = listening(endless(HEAD, b"x"))
    settings = Settings(plain_http=True, hub=f"http://127.0.0.1:{server.port}", docker_config_file="", transfer_timeout_s=2.0)
    with pytest.raises((Refused, InvalidInput, Unavailable)) as caught:
        fetch(settings, address.format(port=server.port), tmp_path / "fetched")
    assert caught.value.hint
    assert server.hits == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class Directory:
    """Names that lead where the test says, one look after the other; what was looked up. Nobody gets out."""

    def __init__(self, **names: list[str]) -> None:
        self.looked: list[str] = []
        self._names = {name.replace("_", "."): places for name, places in names.items()}
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, *rest: Any, **more: Any) -> Any:
        self.looked.append(host)
        places = self._names.get(host)
        if places:
            return self._real(places.pop(0) if len(places) > 1 else places[0], *rest, **more)
        if host not in {"127.0.0.1", "10.0.0.1"}:
            raise OSError("the test lets nobody out")
        return self._real(host, *rest, **more)


@pytest.mark.parametrize("public_looks", [0, 1, 2])
def test_a_registry_whose_name_leads_inside_later(
    listening: Callable[[Speech], Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public_looks: int
) -> None:
    """However often it leads outside first."""
    server = listening(endless(HEAD, b"x"))
    directory = Directory(rebinding_example=["8.8.8.8"] * public_looks + ["127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", directory)
    monkeypatch.setattr("aweigh.store.remotes.resume._MAX_S", 0.01)
    settings = Settings(docker_config_file="", transfer_timeout_s=1.0)
    with pytest.raises((Refused, Unavailable)):
        fetch(settings, f"oci://rebinding.example:{server.port}/team/net:v1", tmp_path)
    assert server.hits == 0
    assert "127.0.0.1" not in directory.looked, "which connecting would look up"


@pytest.mark.parametrize("inside", ["https://{other}/x", "https://10.0.0.1/x", "https://inside.example/x", "http://127.0.0.1:{port}/x"])
@pytest.mark.parametrize("how", ["redirect", "tokens"])
def test_a_registry_leads_nobody_inside(
    listening: Callable[[Speech], Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, how: str
) -> None:
    """Neither by a redirect nor by the server of tokens that it names: private_hosts names the registry alone."""
    other = listening(endless(HEAD, b"x"))
    place = inside.format(other=f"127.0.0.1:{other.port}", port=other.port)
    head = f"307 Elsewhere\r\nLocation: {place}" if how == "redirect" else f'401 Who\r\nWWW-Authenticate: Bearer realm="{place}"'
    registry = listening(
        lambda connection: connection.sendall(f"HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    )
    directory = Directory(inside_example=["10.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", directory)
    here = f"127.0.0.1:{registry.port}"
    settings = Settings(plain_http=True, private_hosts=here, docker_config_file="", transfer_timeout_s=1.0)
    with pytest.raises(Refused) as caught:
        fetch(settings, f"oci://{here}/team/net:v1", tmp_path)
    assert "private network" in caught.value.message
    assert (registry.hits, other.hits) == (1, 0)


def test_plain_http_is_for_registries_that_are_named(
    listening: Callable[[Speech], Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checked(host: str, port: int, terms: Terms) -> list[str]:
        return ["127.0.0.1"]

    server = listening(lambda connection: connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    monkeypatch.setattr("aweigh.app.fetching.checked_addresses", checked)
    with pytest.raises(Refused, match="does not speak TLS"):
        fetch(Settings(plain_http=True, docker_config_file=""), f"oci://public.example:{server.port}/team/net:v1", tmp_path)
    settings = Settings(plain_http=True, private_hosts="public.example", docker_config_file="")
    with pytest.raises(Unsupported, match="no OCI registry"):
        fetch(settings, f"oci://public.example:{server.port}/team/net:v1", tmp_path)


@pytest.mark.parametrize("framing", [b"Connection: close\r\n\r\n", b"Content-Length: 999999999999\r\n\r\n"])
def test_a_body_without_end_is_cut_at_the_limit(listening: Callable[[Speech], Listener], tmp_path: Path, framing: bytes) -> None:
    server = listening(endless(HEAD + framing, b"x" * 65536))
    with pytest.raises(TooLarge, match="more than the 1000000"):
        fetch_https(f"http://127.0.0.1:{server.port}/m.onnx", tmp_path, server.terms())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_chunks_without_end_are_cut_at_the_limit(listening: Callable[[Speech], Listener], tmp_path: Path) -> None:
    server = listening(endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"8000\r\n" + b"x" * 0x8000 + b"\r\n"))
    with pytest.raises(TooLarge):
        fetch_https(f"http://127.0.0.1:{server.port}/m.onnx", tmp_path, server.terms())


@pytest.mark.parametrize(
    ("start", "piece"),
    [(HEAD + b"Content-Length: 100000\r\n\r\n", b"x"), (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"), (b"", b"H")],
    ids=["body", "head", "status line"],
)
def test_who_drips_is_left(
    listening: Callable[[Speech], Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes, piece: bytes
) -> None:
    """Each byte comes in time; all of them together would take a day."""
    monkeypatch.setattr("aweigh.sources.web._CONNECT_S", 1.0)
    server = listening(endless(start, piece, pause_s=0.1))
    began = time.monotonic()
    with pytest.raises(Unavailable):
        fetch_https(f"http://127.0.0.1:{server.port}/m.onnx", tmp_path, server.terms())
    assert time.monotonic() - began < 20
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("piece", [b"X-Header: y\r\n", b"x" * 1000], ids=["fields", "a field"])
def test_a_head_without_end_is_left(listening: Callable[[Speech], Listener], tmp_path: Path, piece: bytes) -> None:
    server = listening(endless(b"HTTP/1.1 200 OK\r\nX-Start: ", piece))
    with pytest.raises(AweighError) as caught:
        fetch_https(f"http://127.0.0.1:{server.port}/m.onnx", tmp_path, server.terms())
    assert caught.value.code in {"unavailable", "too-large"}, caught.value


def test_a_hub_that_lists_without_end(listening: Callable[[Speech], Listener], tmp_path: Path) -> None:
    server = listening(endless(HEAD + b"Connection: close\r\n\r\n" + b'{"siblings": [', b'{"rfilename": "a"},' * 1000))
    with pytest.raises(TooLarge):
        fetch_hub("hf://team/net", tmp_path, server.terms(max_bytes=10**9))

"""The base's registry, where the image goes elsewhere: it never hears who we are there, nor is it asked without TLS because that one is."""

import base64
import contextlib
import dataclasses
import socket
import threading
from pathlib import Path

import pytest
from tests.deploying.packages import pack_linear
from tests.remotes.fake_registry import BASIC, FakeRegistry, fake_registry

from aweigh.app.image import ImageOptions, make_image
from aweigh.app.shipping import access_of
from aweigh.core.errors import AweighError, NotFound, Unauthenticated
from aweigh.core.settings import Settings

OURS = f"Basic {base64.b64encode(b'team:pw').decode()}"
TLS = b"\x16"
"""What a conversation over TLS begins with."""
ELSEWHERE = "127.0.0.1:1/team/linear"


def ask(host: str, to: str, home: Path, *, username: str = "", **said: object) -> type[AweighError]:
    """What came of building on a base that its registry does not have; it is asked before anything is built."""
    pack_linear(home)
    (home / "password").write_text("pw")
    if said.get("registry_username"):
        said["registry_password_file"] = str(home / "password")
    settings = Settings(home=str(home), image_cache=str(home / "cache"), docker_config_file="", **said)  # type: ignore[arg-type]  # by their names
    access = dataclasses.replace(
        access_of(settings, username=username, password="pw" if username else ""), pause=lambda seconds: None, timeout_s=5.0
    )
    with pytest.raises(AweighError) as raised:
        make_image(settings, "linear", ImageOptions(base=f"{host}/team/base:1", to=to or f"oci:{home}/out"), access=access)
    return raised.type


def heard(base: FakeRegistry) -> set[str]:
    return {headers["Authorization"] for _, _, headers in base.requests if "Authorization" in headers}


@pytest.mark.parametrize(
    ("to", "username", "said"),
    [(ELSEWHERE, "team", {}), (ELSEWHERE, "", {"registry_username": "team"}), ("", "", {"registry_username": "team"})],
)
def test_another_registry_hears_no_password(tmp_path: Path, to: str, username: str, said: dict[str, object]) -> None:
    with fake_registry(FakeRegistry(auth=BASIC)) as base:
        assert ask(base.host, to, tmp_path, username=username, **said) is Unauthenticated
        assert base.asked("GET")
        assert heard(base) == set()


@pytest.mark.parametrize("same", [True, False])
def test_the_same_registry_and_the_only_one_that_is_named_are_told(tmp_path: Path, same: bool) -> None:
    with fake_registry(FakeRegistry(auth=BASIC)) as base:
        assert ask(base.host, f"{base.host}/team/linear" if same else "", tmp_path, username="team") is NotFound
        assert heard(base) == {OURS}


@pytest.mark.parametrize("same", [True, False])
def test_without_tls_only_the_registry_is_asked_that_it_was_said_of(tmp_path: Path, same: bool) -> None:
    first: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)

        def listen() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        first.append(connection.recv(1))

        thread = threading.Thread(target=listen)
        thread.start()
        host = f"127.0.0.1:{server.getsockname()[1]}"
        ask(host, f"{host}/team/linear" if same else ELSEWHERE, tmp_path, plain_http=True)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert set(first) == {b"G" if same else TLS}

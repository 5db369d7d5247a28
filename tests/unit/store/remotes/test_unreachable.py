"""A registry that cannot be asked: the name, the refused connection and the two waits are told apart."""

import socket
from typing import NoReturn

import pytest
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, ReadTimeoutError
from urllib3.util import connection

from aweigh.core.errors import Unavailable
from aweigh.store.remotes.access import Access
from aweigh.store.remotes.address import parse_address
from aweigh.store.remotes.http import Web

HOST = "registry.example"


def web(host: str = HOST, timeout_s: float = 60.0) -> Web:
    return Web(parse_address(f"oci://{host}/models/fraud"), Access(plain_http=True, timeout_s=timeout_s, pause=lambda _: None))


def asked(monkeypatch: pytest.MonkeyPatch, error: Exception, timeout_s: float = 60.0) -> Unavailable:
    """What is raised where the library's connection fails with `error`."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(connection, "create_connection", fail)
    with pytest.raises(Unavailable) as caught:
        web(timeout_s=timeout_s).request("GET", "/v2/", ok=frozenset({200}), retry=False)
    return caught.value


def test_a_name_that_is_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, socket.gaierror(-2, "Name or service not known"))
    assert isinstance(found.__cause__, NameResolutionError)
    assert found.message == f"there is no host {HOST}, as far as can be known here"


def test_a_connection_that_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and listened on by nobody
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable) as caught:
            web(host).request("GET", "/v2/", ok=frozenset({200}), retry=False)
    assert caught.value.message == f"{host} cannot be reached: Connection refused"
    assert caught.value.hint == "check the address, and that it runs"


@pytest.mark.parametrize(("timeout_s", "told"), [(60.0, "10 s"), (3.0, "3 s")])
def test_a_connection_that_nobody_takes(monkeypatch: pytest.MonkeyPatch, timeout_s: float, told: str) -> None:
    found = asked(monkeypatch, TimeoutError("timed out"), timeout_s)
    assert isinstance(found.__cause__, ConnectTimeoutError)
    assert found.message == f"{HOST} took no connection in {told}"


def test_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise TimeoutError("timed out")

    ours, theirs = socket.socketpair()
    monkeypatch.setattr(connection, "create_connection", lambda *_, **__: ours)
    monkeypatch.setattr(HTTPConnection, "getresponse", fail)
    with ours, theirs, pytest.raises(Unavailable) as caught:
        web().request("GET", "/v2/", ok=frozenset({200}), retry=False)
    assert isinstance(caught.value.__cause__, ReadTimeoutError)
    assert caught.value.message == f"{HOST} did not answer in 60 s"

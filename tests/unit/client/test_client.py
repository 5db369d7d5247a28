import pytest

from aweigh.client.client import Client, _endpoint
from aweigh.core import plugins
from aweigh.core.errors import InvalidSetting, MissingLibrary


@pytest.mark.parametrize(
    ("url", "protocol", "expected"),
    [
        ("http://h:1", None, ("rest", "h", 1, False, "")),
        ("https://h", None, ("rest", "h", 443, True, "")),
        ("grpc://h:1/", None, ("grpc", "h", 1, False, "")),
        ("grpcs://[::1]:9", None, ("grpc", "::1", 9, True, "")),
        ("http://h:1", "grpc", ("grpc", "h", 1, False, "")),
        ("https://h:1", "grpc", ("grpc", "h", 1, True, "")),
        ("h:1", None, ("rest", "h", 1, False, "")),
        ("h:1", "grpc", ("grpc", "h", 1, False, "")),
        ("http://h:1/a/b/", None, ("rest", "h", 1, False, "/a/b")),
    ],
)
def test_urls(url: str, protocol: str | None, expected: tuple[object, ...]) -> None:
    name, endpoint = _endpoint(url, protocol, "", "")
    assert (name, endpoint.host, endpoint.port, endpoint.tls, endpoint.path) == expected


@pytest.mark.parametrize("url", ["", "ftp://h", "http://", "http://h:x", "http://h:99999", "http://u:p@h", "http://h?q", "grpc://h/path"])
def test_wrong_urls(url: str) -> None:
    with pytest.raises(InvalidSetting):
        _endpoint(url, None, "", "")


def test_wrong_settings() -> None:
    for wrong in ({"timeout_s": 0}, {"retries": -1}, {"api_key": "a\nb"}):
        with pytest.raises(InvalidSetting):
            Client(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_file_of_authorities_that_is_not_there_and_a_key_that_no_header_carries(scheme: str) -> None:
    with pytest.raises(InvalidSetting, match=r"ca_file '/nowhere/ca\.pem' cannot be read"):
        Client(f"{scheme}://127.0.0.1:1", ca_file="/nowhere/ca.pem")
    for key in ("ключ", "clé"):
        with pytest.raises(InvalidSetting, match="ASCII"):
            Client(f"{scheme}://127.0.0.1:1", api_key=key)


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(_endpoint("http://h", None, "secret", "")[1])


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingLibrary) as caught:
        Client("grpc://h:1")
    assert "aweigh[client]" in caught.value.hint

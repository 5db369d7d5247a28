"""Who we are: what was given, what docker's configuration holds, what its helpers say. No password is shown."""

import base64
import json
import os

import pytest

from aweigh.core.errors import InvalidFile, Unauthenticated
from aweigh.store.remotes import Access
from aweigh.store.remotes.credentials import find_credentials


@pytest.fixture
def config(tmp_path):
    def write(document):
        path = tmp_path / "config.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return Access(docker_config=path)

    return write


def entry(text):
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_what_is_given_comes_first(config):
    access = config({"auths": {"registry.example": entry("file:secret")}})
    given = Access(username="me", password="mine", docker_config=access.docker_config)
    found = find_credentials("registry.example", given)
    assert (found.username, found.password) == ("me", "mine")
    assert "mine" not in repr(given) + repr(found)


@pytest.mark.parametrize(
    "key", ["registry.example", "https://registry.example", "https://registry.example/v1/", "https://registry.example/v2/"]
)
def test_docker_configuration(config, key):
    found = find_credentials("registry.example", config({"auths": {key: entry("me:a:b")}, "other": 1}))
    assert (found.username, found.password) == ("me", "a:b")
    assert find_credentials("other.example", config({"auths": {key: entry("me:a:b")}})) is None


def test_the_hub_has_a_key_of_its_own(config):
    access = config({"auths": {"https://index.docker.io/v1/": entry("me:pw")}})
    assert find_credentials("docker.io", access).username == "me"


def test_none(config, tmp_path):
    assert find_credentials("a.example", Access()) is None
    assert find_credentials("a.example", Access(docker_config=tmp_path / "absent.json")) is None
    assert find_credentials("a.example", config({})) is None


@pytest.mark.parametrize("document", ["{", '{"auths": 1}', "\x00", '{"auths": {"a.example": {"auth": "???"}}}'])
def test_a_configuration_that_cannot_be_read(config, document):
    with pytest.raises(InvalidFile):
        find_credentials("a.example", config(document))


def helper(folder, script):
    path = folder / "docker-credential-ours"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_helpers(config, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    helper(tmp_path, """test "$1" = get && printf '{"ServerURL":"x","Username":"me-%s","Secret":"s"}' "$(cat)" """)
    assert find_credentials("a.example", config({"credsStore": "ours"})).username == "me-a.example"
    assert find_credentials("a.example", config({"credHelpers": {"a.example": "ours"}})).username == "me-a.example"
    assert find_credentials("a.example", config({"auths": {"a.example": {}}, "credsStore": "ours"})).password == "s"
    helper(tmp_path, "echo 'credentials not found'; exit 1")
    assert find_credentials("a.example", config({"credsStore": "ours"})) is None
    helper(tmp_path, "echo hello")
    with pytest.raises(Unauthenticated):
        find_credentials("a.example", config({"credsStore": "ours"}))


@pytest.mark.parametrize("name", ["absent", "../../bin/sh", "a b", "$(id)", ""])
def test_a_helper_that_is_none(config, name):
    access = config({"credHelpers": {"a.example": name}})
    if name:
        with pytest.raises(Unauthenticated, match="docker-credential"):
            find_credentials("a.example", access)
    else:
        assert find_credentials("a.example", access) is None

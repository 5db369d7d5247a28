"""Push and pull against a registry that breaks off, lies, or wants more than it should get; and killed at every step."""

import dataclasses
import hashlib
import json
import re
import socket
import time

import pytest
from tests.remotes.fake_registry import BASIC, BEARER, FakeRegistry, body_of, fake_registry, send

from aweigh.core.errors import (
    AweighError,
    Conflict,
    Denied,
    InvalidFile,
    NotFound,
    Overloaded,
    Refused,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from aweigh.core.names import model_name, parse_reference
from aweigh.store import Store, Terms, find_offer, push
from aweigh.store.remotes import Access, parse_address
from aweigh.store.remotes.registry import Registry
from aweigh.testing import MemoryRemote

NAME = model_name("fraud")
TERMS = Terms(permit=lambda manifest: None, judge=lambda package: None, origin="a test")
LARGE = bytes(range(256)) * 2000


@pytest.fixture
def package(tmp_path, make_draft):
    return Store(tmp_path / "source").publish(NAME, make_draft(LARGE))


@pytest.fixture
def peer():
    with fake_registry() as registry:
        yield registry


@pytest.fixture
def target(tmp_path):
    return Store(tmp_path / "target", lock_timeout_s=5.0)


def remote(peer, **how):
    sizes = {name: how.pop(name) for name in ("whole_bytes", "piece_bytes") if name in how}
    access = Access(**{"pause": lambda seconds: None, "timeout_s": 5.0, **how})
    return Registry(parse_address(f"{peer.host}/team/fraud"), access, **sizes)


def pull(store, place, **what):
    return store.adopt(NAME, find_offer(place, place="the peer", **what), TERMS)


def filled(peer, package):
    push(package, remote(peer), ["v1"])
    peer.requests.clear()
    return peer


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("sizes", [{}, {"whole_bytes": 1000, "piece_bytes": 100_000}])
def test_there_and_back(peer, package, target, sizes):
    done = push(package, remote(peer, **sizes), ["v1", "champion"])
    assert (done.kept, done.digest) == (0, package.digest)
    assert pull(target, remote(peer)).digest == package.digest
    peer.requests.clear()
    assert push(package, remote(peer, **sizes), ["v1"]).sent == 0
    assert not peer.asked("POST")
    assert not peer.asked("PATCH")
    peer.requests.clear()
    pull(target, remote(peer))
    assert not peer.asked("GET", "blobs"), "what is here is not fetched again"


@pytest.mark.parametrize("auth", [BASIC, BEARER])
def test_who_we_are(peer, package, target, auth):
    peer.auth = auth
    known = {"username": "team", "password": "pw"}
    push(package, remote(peer, **known), ["v1"])
    pull(target, remote(peer, **known))
    for wrong in ({}, {"username": "team", "password": "wrong"}):
        with pytest.raises(Unauthenticated):
            remote(peer, **wrong).tags()
    for path in peer.asked("GET", "/token"):
        assert "scope=repository%3Ateam%2Ffraud%3Apull" in path
        assert "other" not in path, "the challenge does not choose what we ask for"


def test_a_token_that_expires_is_asked_for_again(peer, package):
    peer.auth = BEARER
    place = remote(peer, username="team", password="pw")
    place.tags()
    peer.token = "another"
    push(package, place, ["v1"])
    assert len(peer.asked("GET", "/token")) == 2


def test_a_push_in_pieces_goes_on_where_it_broke_off(peer, package, target):
    broken = []

    def meddle(handler, method, path):
        if method == "PATCH" and len(broken) < 3 and int(handler.headers["Content-Length"]) > 30_000:  # of the large blob
            broken.append(path)
            held = handler.rfile.read(30_000)
            peer.uploads[path.partition("?")[0]] += held
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return True
        return False

    peer.meddle = meddle
    push(package, remote(peer, whole_bytes=1000, piece_bytes=200_000), ["v1"])
    assert len(broken) == 3
    assert len(peer.asked("GET", "uploads")) == 3
    sent = sum(int(headers["Content-Length"]) for method, _, headers in peer.requests if method == "PATCH")
    assert sent < len(LARGE) + 3 * 200_000, "not begun anew"
    assert pull(target, remote(peer)).digest == package.digest


def test_an_upload_that_the_registry_forgot_begins_anew(peer, package, target):
    forgotten = []

    def meddle(handler, method, path):
        if method == "PATCH" and not forgotten:
            forgotten.append(path)
            body_of(handler)
            peer.uploads.pop(path.partition("?")[0])
            send(handler, 500)
            return True
        return False

    peer.meddle = meddle
    push(package, remote(peer, whole_bytes=1000), ["v1"])
    assert pull(target, remote(peer)).digest == package.digest


def test_a_registry_in_trouble_is_tried_again(peer, package, target):
    seen: dict[tuple[str, str], int] = {}

    def meddle(handler, method, path):
        key = (method, re.sub(r"uploads/\d+", "uploads/…", path.partition("?")[0]))
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 1 and path != "/v2/":
            body_of(handler)
            send(handler, 503 if len(seen) % 2 else 429, Retry_After="0")
            return True
        return False

    peer.meddle = meddle
    push(package, remote(peer), ["v1"])
    assert pull(target, remote(peer)).digest == package.digest


def test_a_pull_goes_on_where_it_broke_off(peer, package, target):
    filled(peer, package)
    large, cuts = digest_of(LARGE), [100_000, 150_000]

    def meddle(handler, method, path):
        if method == "GET" and path.endswith(large) and cuts:
            at = int(handler.headers.get("Range", "bytes=0-")[6:-1])
            data = LARGE[at : at + cuts.pop(0)]
            headers = {"Content_Range": f"bytes {at}-{len(LARGE) - 1}/{len(LARGE)}"} if at else {}
            send(handler, 206 if at else 200, data, Content_Length=str(len(LARGE) - at), **headers)
            handler.close_connection = True
            return True
        return False

    peer.meddle = meddle
    assert pull(target, remote(peer)).digest == package.digest
    asked = [headers.get("Range") for method, path, headers in peer.requests if path.endswith(large) and method == "GET"]
    assert asked == [None, "bytes=100000-", "bytes=250000-"]


def test_a_registry_that_knows_no_ranges(peer, package, target):
    filled(peer, package)
    large, cuts = digest_of(LARGE), [100_000]

    def meddle(handler, method, path):
        if method == "GET" and path.endswith(large):
            send(handler, 200, LARGE[: cuts.pop()] if cuts else LARGE, Content_Length=str(len(LARGE)))
            handler.close_connection = True
            return True
        return False

    peer.meddle = meddle
    assert pull(target, remote(peer)).digest == package.digest


def answering(peer, pattern, **answer):
    """Let the peer answer GETs of paths that end so with the given status, body and headers."""
    status, body = answer.pop("status", 200), answer.pop("body", b"")

    def meddle(handler, method, path):
        if method == "GET" and path.partition("?")[0].endswith(pattern):
            send(handler, status, body, **answer, Connection="close")
            return True
        return False

    peer.meddle = meddle


LIES = {
    "other bytes of the same size": ({"body": b"x" * len(LARGE)}, InvalidFile),
    "more than was announced": ({"body": LARGE + b"more"}, InvalidFile),
    "a stream without end": ({"body": LARGE * 8, "Content_Length": str(10**12)}, InvalidFile),
    "less, for good": ({"body": LARGE[:1000], "Content_Length": "1000"}, (Unavailable, InvalidFile)),
    "another part": ({"status": 206, "body": LARGE[5:], "Content_Range": "bytes 5-9/10"}, InvalidFile),
    "no such blob": ({"status": 404}, NotFound),
    "not for us": ({"status": 403}, Denied),
    "too many": ({"status": 429, "Retry_After": "1"}, Overloaded),
    "broken for good": ({"status": 500}, Unavailable),
    "a page": ({"status": 200, "body": b"<html>sign in</html>"}, (InvalidFile, Unavailable)),
}


@pytest.mark.parametrize("case", LIES)
def test_lies_about_a_blob(peer, package, target, case):
    answer, expected = LIES[case]
    filled(peer, package)
    answering(peer, digest_of(LARGE), **answer)
    started = time.monotonic()
    with pytest.raises(expected):
        pull(target, remote(peer))
    assert time.monotonic() - started < 10
    assert target.list() == []
    assert target.check().whole
    assert not list(target.folder.rglob(".tmp-*"))
    peer.meddle = lambda *_: False
    assert pull(target, remote(peer)).digest == package.digest


def test_lies_about_a_manifest(peer, package, target):
    manifest = filled(peer, package).manifests["v1"]
    answering(peer, "/v1", body=manifest, Docker_Content_Digest="sha256:" + "0" * 64)
    with pytest.raises(InvalidFile, match="says that the manifest has digest"):
        pull(target, remote(peer), tag="v1")
    answering(peer, package.digest, body=manifest + b" ")
    with pytest.raises(InvalidFile, match="was promised"):
        pull(target, remote(peer), digest=package.digest)
    answering(peer, "/v1", body=b" " * (5 * 1024 * 1024))
    with pytest.raises(TooLarge):
        pull(target, remote(peer), tag="v1")
    for body in (b"", b"{}", b"[" * 100_000, b"\xff", b'{"schemaVersion":2,"config":{},"layers":[]}'):
        answering(peer, "/v1", body=body)
        with pytest.raises(InvalidFile):
            pull(target, remote(peer), tag="v1")
    assert target.list() == []


CHANGES = {
    "a path that leaves": lambda layer: layer["annotations"].update({"org.cncf.model.filepath": "../../evil"}),
    "a foreign layer": lambda layer: layer.update(urls=["http://169.254.169.254/"]),
    "a digest that is a path": lambda layer: layer.update(digest="sha256:../../etc/passwd"),
    "a size beyond any disk": lambda layer: layer.update(size=2**60),
    "a size below zero": lambda layer: layer.update(size=-5),
}


@pytest.mark.parametrize("case", CHANGES)
def test_hostile_manifests(peer, package, target, case):
    manifest = json.loads(filled(peer, package).manifests["v1"])
    CHANGES[case](manifest["layers"][-1])
    peer.manifests["v1"] = json.dumps(manifest).encode()
    with pytest.raises((InvalidFile, AweighError)) as caught:
        pull(target, remote(peer))
    assert caught.value.code in {"invalid-file", "store-unavailable"}
    assert not peer.asked("GET", digest_of(LARGE)), "not one byte of it is asked for"
    assert target.list() == []


def test_a_redirect_gets_no_credentials(peer, package, target):
    filled(peer, package)
    peer.auth = BASIC
    with fake_registry(FakeRegistry(blobs=peer.blobs)) as elsewhere:

        def meddle(handler, method, path):
            if method == "GET" and "/blobs/" in path:
                send(handler, 307, Location=f"http://{elsewhere.host}{path}")
                return True
            return False

        peer.meddle = meddle
        assert pull(target, remote(peer, username="team", password="pw")).digest == package.digest
        assert elsewhere.requests
        assert not any("Authorization" in headers for _, _, headers in elsewhere.requests)
    assert all("Authorization" in headers for _, path, headers in peer.requests if "/blobs/" in path)


@pytest.mark.parametrize("challenge", ["Bearer", "Basic"])
def test_who_is_led_to_may_not_ask_who_we_are(peer, package, target, challenge):
    filled(peer, package)
    with fake_registry() as third, fake_registry() as elsewhere:

        def ask(handler, method, path):
            send(handler, 401, WWW_Authenticate=f'{challenge} realm="http://{third.host}/token"')
            return True

        elsewhere.meddle = ask
        answering(peer, digest_of(LARGE), status=307, Location=f"http://{elsewhere.host}/blob")
        with pytest.raises(Unauthenticated, match=r"leads to 127\.0\.0\.1, which wants to know who you are"):
            pull(target, remote(peer, username="team", password="pw"))
        assert elsewhere.requests
        assert not third.requests
        asked = elsewhere.requests + peer.requests
        assert not any("Authorization" in headers for _, _, headers in asked)
    assert target.list() == []


@pytest.mark.parametrize(
    "location",
    [
        "http://registry.example/x", "https://user:pw@registry.example/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "",
        "http://127.0.0.1:99999/x", "//registry.example/x", "http://169.254.169.254/latest/meta-data",
    ],
)  # fmt: skip
def test_redirects_that_are_not_followed(peer, package, target, location):
    filled(peer, package)
    answering(peer, digest_of(LARGE), status=307, Location=location)
    with pytest.raises(Refused):
        pull(target, remote(peer))
    assert target.list() == []


def test_a_redirect_in_a_circle_ends(peer, package, target):
    filled(peer, package)
    answering(peer, digest_of(LARGE), status=307, Location=f"/v2/team/fraud/blobs/{digest_of(LARGE)}")
    with pytest.raises(Refused, match="more than"):
        pull(target, remote(peer))


def test_a_peer_elsewhere_cannot_lead_us_to_this_machine():
    """Judged before any connection is made."""
    from aweigh.store.remotes.http import Web

    web = Web(parse_address("registry.example/x"), Access())
    for location in (
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://169.254.169.254/x",
    ):
        with pytest.raises(Refused, match="this machine"):
            web.elsewhere(web.base, location)
    with pytest.raises(Refused, match="without TLS"):
        web.elsewhere(web.base, "http://10.0.0.1/x")


def test_a_peer_that_drips_or_says_nothing_is_left(peer, package, target):
    filled(peer, package)

    def meddle(handler, method, path):
        if method == "GET" and path.endswith(digest_of(LARGE)):
            send(handler, 200, b"", Content_Length=str(len(LARGE)))
            for _ in range(40):
                time.sleep(0.05)
                handler.wfile.write(b"x")
            return True
        return False

    peer.meddle = meddle
    started = time.monotonic()
    with pytest.raises((Unavailable, InvalidFile)):
        pull(target, remote(peer, timeout_s=0.1))
    assert time.monotonic() - started < 20


def test_what_is_no_registry(peer):
    answering(peer, "/v2/", status=404)
    with pytest.raises(AweighError, match="no OCI registry"):
        remote(peer).tags()
    answering(peer, "/list", body=b"<html>")
    with pytest.raises(Unavailable, match="no list of tags"):
        remote(peer).tags()


def test_a_version_does_not_change_there_either(peer, package, tmp_path, make_draft):
    filled(peer, package)
    other = Store(tmp_path / "other").publish(NAME, make_draft(b"other"))
    with pytest.raises(Conflict, match="another package under 'v1'"):
        push(other, remote(peer), ["v1"])
    push(other, remote(peer), ["latest"])
    push(package, remote(peer), ["latest"])
    push(other, remote(peer), ["v1"], force=True)
    assert digest_of(peer.manifests["v1"]) == other.digest


def test_the_newest_version_is_meant_where_no_tag_is_given(package, tmp_path, make_draft, target):
    place = MemoryRemote()
    with pytest.raises(NotFound, match="no version"):
        pull(target, place)
    push(package, place, ["v2", "v10", "champion"])
    newest = pull(target, place)
    assert str(newest.reference) == "fraud:10"
    place.named = {"blue": package.digest}
    with pytest.raises(NotFound) as caught:
        pull(target, place)
    assert "'blue'" in caught.value.hint


def test_a_mount_from_another_repository_sends_nothing(peer, package):
    def meddle(handler, method, path):
        if method == "POST" and "from=team%2Fbase" in path:
            digest = path.partition("mount=")[2].partition("&")[0].replace("%3A", ":")
            peer.blobs[digest] = b""
            body_of(handler)
            send(handler, 201)
            return True
        return False

    peer.meddle = meddle
    assert push(package, remote(peer, mount_from="team/base"), ["v1"]).sent == 0
    assert not peer.asked("PUT", "uploads")


def test_a_collection_during_a_pull_loses_nothing(package, target):
    place = MemoryRemote()
    push(package, place, ["v1"])
    calls = []

    def judge(_):
        calls.append(1)
        target.collect(grace_s=-10)

    offer = find_offer(place, place="memory")
    adopted = target.adopt(NAME, offer, dataclasses.replace(TERMS, judge=judge))
    adopted.verify()
    assert len(calls) == 1
    assert target.check().whole
    assert str(target.open(parse_reference("fraud")).reference) == "fraud:1"


def test_every_host_is_held_to_a_check(peer, package, target):
    """The registry, whom a redirect leads to, and the server of tokens: each is looked up once, and asked at the addresses that were checked."""
    looked = []

    def check(host, port):
        looked.append((host, port))
        if host != "registry.test":
            raise Refused(f"{host} may not be asked")
        return ["127.0.0.1"]

    filled(peer, package)
    peer.auth = BEARER
    access = Access(pause=lambda seconds: None, timeout_s=5.0, plain_http=True, check=check)
    place = parse_address(f"registry.test:{peer.port}/team/fraud")
    with pytest.raises(Refused, match="without TLS"):
        Registry(place, access).tags()
    assert peer.asked("GET", "/token") == []
    peer.auth = ""
    registry = Registry(place, access)
    assert registry.tags() == ["v1"]
    assert {headers["Host"] for _, _, headers in peer.requests} == {f"registry.test:{peer.port}"}
    for location in ("https://10.0.0.1/x", "https://metadata.internal/x", "https://[fd00::1]/x"):
        answering(peer, digest_of(LARGE), status=307, Location=location)
        with pytest.raises(Refused, match="may not be asked"):
            pull(target, registry)
    assert looked.count(("registry.test", peer.port)) == 2, "once by each registry that was opened"


def test_the_next_address_is_asked_where_one_does_not_answer(peer):
    def opened(*addresses):
        access = Access(pause=lambda seconds: None, timeout_s=0.5, plain_http=True, check=lambda host, port: list(addresses))
        return Registry(parse_address(f"registry.test:{peer.port}/team/fraud"), access)

    assert opened("127.0.0.2", "127.0.0.1").tags() == []
    peer.requests.clear()
    with pytest.raises(Unavailable):
        opened("127.0.0.2", "127.0.0.3").tags()
    assert peer.requests == []

"""Hubs, Git, object stores and registries: what comes, what is kept as its origin, and what is refused."""

import hashlib
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.contract.sources.conftest import Site
from tests.remotes.fake_registry import FakeRegistry, fake_registry
from tests.remotes.servers import s3_server

from aweigh.app.addresses import name_from_address
from aweigh.app.fetching import fetch
from aweigh.core.errors import InvalidFile, InvalidInput, NotFound, Refused, TooLarge, Unsupported
from aweigh.core.settings import Settings
from aweigh.packing.recognise import recognise
from aweigh.sources.git import fetch_git
from aweigh.sources.hub import fetch_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Make = Callable[[dict[str, bytes]], tuple[Path, str]]


def hub(site: Site, *names: str, revision: str = "main", sha: str = COMMIT) -> None:
    said = {"id": "team/net", "sha": sha, "siblings": [{"rfilename": name} for name in names]}
    site.put(f"/api/models/team/net/revision/{revision}", json.dumps(said).encode())
    for name in names:
        site.put(f"/team/net/resolve/{sha}/{name}", name.encode())


def test_a_hub_gives_the_files_of_one_commit(site: Site, tmp_path: Path) -> None:
    hub(site, "config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "tokenizer.json", ".gitattributes")
    found = fetch_hub("hf://team/net", tmp_path, site.terms(hub_token="secret"))
    assert found.path == tmp_path / "net"
    assert sorted(each.name for each in found.path.rglob("*")) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert found.origin == f"hf://team/net@{COMMIT}"
    assert all(headers["Authorization"] == "Bearer secret" for _, headers in site.asked)


def test_a_file_of_a_revision(site: Site, tmp_path: Path) -> None:
    hub(site, "onnx/model.onnx", "model.safetensors", revision="v1.0")
    found = fetch_hub("hf://team/net@v1.0/onnx/model.onnx", tmp_path, site.terms())
    assert found.path.read_bytes() == b"onnx/model.onnx"
    assert found.origin == f"hf://team/net@{COMMIT}/onnx/model.onnx"
    with pytest.raises(NotFound, match=r"absent\.onnx"):
        fetch_hub("hf://team/net@v1.0/absent.onnx", tmp_path / "b", site.terms())


NAMES = ["modèle.onnx", "model (1).onnx", "model,v2.onnx", "a&b.onnx", "[v1]/100%.onnx", "-m.onnx", "模型.onnx", "it's #1?.onnx"]


def test_files_may_have_any_ordinary_name(site: Site, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from obstore.store import S3Store

    said = {"sha": COMMIT, "siblings": [{"rfilename": name} for name in NAMES]}
    site.put("/api/models/team/net/revision/main", json.dumps(said).encode())
    for name in NAMES:
        site.put(f"/team/net/resolve/{COMMIT}/{quote(name)}", name.encode())
    found = fetch_hub("hf://team/net", tmp_path / "a", site.terms()).path
    assert {str(path.relative_to(found)): path.read_text() for path in found.rglob("*.onnx")} == {name: name for name in NAMES}
    for name, text in {"ENDPOINT_URL": s3, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", text)
    store = S3Store("bucket", client_options={"allow_http": True})
    for name in NAMES:
        store.put(f"named/{name}", name.encode())
    found = fetch(Settings(plain_http=True), "s3://bucket/named", tmp_path / "b").path
    assert {str(path.relative_to(found)): path.read_text() for path in found.rglob("*.onnx")} == {name: name for name in NAMES}


@pytest.mark.parametrize(
    "name", ["a/../../x", "b/../../../x", "/etc/x", "a//b", "a\\b", "a\0b", "\x1b[2J", "a\nb", "\u202exnno", "é" * 101]
)
def test_a_hub_names_no_file_elsewhere(site: Site, tmp_path: Path, name: str) -> None:
    hub(site, name)
    with pytest.raises(InvalidFile, match="no plain path"):
        fetch_hub("hf://team/net", tmp_path / "in", site.terms())
    assert [path for path, _ in site.asked if "resolve" in path] == []


@pytest.mark.parametrize(
    ("written", "revision"),
    [
        ("refs/pr/1", "refs%2Fpr%2F1"), ("refs%2Fpr%2F1", "refs%2Fpr%2F1"), ("refs/convert/parquet", "refs%2Fconvert%2Fparquet"),
        ("mine%2fnew", "mine%2Fnew"), ("v1.0", "v1.0"),
    ],
)  # fmt: skip
def test_revisions_with_slashes(site: Site, tmp_path: Path, written: str, revision: str) -> None:
    hub(site, "onnx/model.onnx", revision=revision)
    assert (fetch_hub(f"hf://team/net@{written}", tmp_path / "a", site.terms()).path / "onnx" / "model.onnx").is_file()
    found = fetch_hub(f"hf://team/net@{written}/onnx/model.onnx", tmp_path / "b", site.terms())
    assert found.path.read_bytes() == b"onnx/model.onnx"
    assert found.origin == f"hf://team/net@{COMMIT}/onnx/model.onnx"


@pytest.mark.parametrize("revision", ["..", "a%2F..%2Fb", "a%2F%2Fb", "%2Fa", "a%00b", "refs/pr/.."])
def test_revisions_that_are_none(site: Site, tmp_path: Path, revision: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        fetch_hub(f"hf://team/net@{revision}", tmp_path, site.terms())
    assert "@refs/pr/NUMBER" in caught.value.hint
    assert site.asked == []


def test_a_token_goes_to_the_hub_alone(site: Site, tmp_path: Path) -> None:
    hub(site, "model.onnx")
    site.put(f"/team/net/resolve/{COMMIT}/model.onnx", b"", 302, Location=f"https://127.0.0.1:{site.port}/m")
    site.put("/m", b"model")
    fetch_hub("hf://team/net", tmp_path, site.terms(hub_token="secret", private_hosts=("localhost:*", "127.0.0.1")))
    sent = {path: "Authorization" in headers for path, headers in site.asked}
    assert sent["/m"] is False
    assert sent["/api/models/team/net/revision/main"] is True


def test_a_hub_that_answers_nonsense(site: Site, tmp_path: Path) -> None:
    hub(site, "model.onnx", sha="../../../etc")
    with pytest.raises(InvalidFile, match="no commit"):
        fetch_hub("hf://team/net", tmp_path, site.terms())
    with pytest.raises(InvalidInput):
        fetch_hub("hf://team", tmp_path, site.terms())


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"


def test_git_gives_a_path_at_a_commit(tmp_path: Path, repository: Make, site: Site) -> None:
    bare, commit = repository({"models/m.onnx": b"model", "big.onnx": LFS})
    found = fetch_git(f"git+file://{bare}@main#models/m.onnx", tmp_path / "a", site.terms())
    assert found.path.read_bytes() == b"model"
    assert found.origin == f"git+file://{bare}@{commit}#models/m.onnx"
    whole = fetch_git(f"git+file://{bare}@{commit}", tmp_path / "b", site.terms()).path
    assert not (whole / ".git").exists()
    assert not (whole / "link").is_symlink(), "links become plain text"
    with pytest.raises(InvalidFile, match="Git LFS pointer"):
        recognise(whole / "big.onnx")


def test_git_over_https_from_a_host_that_may_be_asked(tmp_path: Path, repository: Make, site: Site) -> None:
    bare, commit = repository({"m.onnx": b"model"})
    site.repositories = bare.parent
    address = f"git+https://localhost:{site.port}/git/models.git"
    assert fetch_git(f"{address}#m.onnx", tmp_path / "a", site.terms()).origin == f"{address}@{commit}#m.onnx"
    site.asked.clear()
    with pytest.raises(Refused, match="private network"):
        fetch_git(address, tmp_path / "b", site.terms(private_hosts=()))
    assert site.asked == []


WEIGHTS = b"weights" * 50_000
OID = hashlib.sha256(WEIGHTS).hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize {len(WEIGHTS)}\n".encode()
BATCH = "/git/models.git/info/lfs/objects/batch"


def test_a_file_in_git_lfs_comes_from_the_repository(tmp_path: Path, repository: Make, site: Site) -> None:
    bare, _ = repository({"models/m.onnx": POINTER, "models/gone.bin": LFS})
    with pytest.raises(NotFound, match="lies in Git LFS, and the repository"):
        fetch_git(f"git+file://{bare}#models/m.onnx", tmp_path / "a", site.terms())
    kept = bare / "lfs" / "objects" / OID[:2] / OID[2:4] / OID
    kept.parent.mkdir(parents=True)
    kept.write_bytes(WEIGHTS)
    found = fetch_git(f"git+file://{bare}#models", tmp_path / "b", site.terms())
    assert (found.path / "m.onnx").read_bytes() == WEIGHTS
    assert (found.path / "gone.bin").read_bytes() == LFS, "which recognising refuses"
    kept.write_bytes(WEIGHTS[::-1])
    with pytest.raises(InvalidFile, match="and not sha256:"):
        fetch_git(f"git+file://{bare}#models/m.onnx", tmp_path / "c", site.terms())
    with pytest.raises(TooLarge):
        fetch_git(f"git+file://{bare}#models/m.onnx", tmp_path / "d", site.terms(max_bytes=100_000))


def offer(site: Site, href: str, **header: str) -> None:
    """The server's answer to who asks for the weights."""
    found = {"oid": OID, "size": len(WEIGHTS), "actions": {"download": {"href": href, "header": header}}}
    site.put(BATCH, json.dumps({"transfer": "basic", "objects": [found]}).encode())


def test_a_file_in_git_lfs_comes_from_a_server(tmp_path: Path, repository: Make, site: Site) -> None:
    bare, _ = repository({"m.onnx": POINTER})
    site.repositories = bare.parent
    address = f"git+{site.url}/git/models.git#m.onnx"
    with pytest.raises(NotFound, match="404"):  # it has no Git LFS
        fetch_git(address, tmp_path / "a", site.terms())
    offer(site, site.put("/storage/1", WEIGHTS), Authorization="Basic abc", Host="elsewhere.example")
    assert fetch_git(address, tmp_path / "b", site.terms()).path.read_bytes() == WEIGHTS
    assert json.loads(site.said[-1])["objects"] == [{"oid": OID, "size": len(WEIGHTS)}]
    path, headers = site.asked[-1]
    assert (path, headers["Authorization"], headers["Host"]) == ("/storage/1", "Basic abc", f"localhost:{site.port}")
    site.put("/storage/1", b"other" * 70_000)
    with pytest.raises(InvalidFile, match="and not sha256:"):
        fetch_git(address, tmp_path / "c", site.terms())
    site.put("/storage/1", WEIGHTS * 2)
    with pytest.raises(TooLarge):
        fetch_git(address, tmp_path / "d", site.terms())


@pytest.mark.parametrize(
    "href", ["https://127.0.0.1:{port}/storage/1", "http://localhost:{port}/storage/1", "file:///etc/passwd", "https://169.254.169.254/x"]
)
def test_git_lfs_sends_nobody_inside(tmp_path: Path, repository: Make, site: Site, href: str) -> None:
    bare, _ = repository({"m.onnx": POINTER})
    site.repositories = bare.parent
    site.put("/storage/1", WEIGHTS)
    offer(site, href.format(port=site.port))
    with pytest.raises(Refused):
        fetch_git(f"git+{site.url}/git/models.git#m.onnx", tmp_path / "a", site.terms())
    assert "/storage/1" not in {path for path, _ in site.asked}


def test_a_server_that_answers_nonsense_of_git_lfs(tmp_path: Path, repository: Make, site: Site) -> None:
    bare, _ = repository({"m.onnx": POINTER})
    site.repositories = bare.parent
    for at, said in enumerate(
        (b"<html>", b'{"objects": 3}', b'{"objects": []}', b'{"objects": [{"oid": "' + OID.encode() + b'", "error": {"message": "gone"}}]}')
    ):
        site.put(BATCH, said)
        with pytest.raises((InvalidFile, NotFound)) as caught:
            fetch_git(f"git+{site.url}/git/models.git#m.onnx", tmp_path / str(at), site.terms())
        assert "git-lfs" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "git+file:///x@--upload-pack=touch",
        "git+file:///x@a..b",
        "git+file:///x#../y",
        "git+file:///x#.git/config",
        "git+ssh://x/y",
        "git+file:///x@main#a/../b",
    ],
)
def test_git_addresses_that_are_none(tmp_path: Path, site: Site, text: str) -> None:
    with pytest.raises(InvalidInput):
        fetch_git(text, tmp_path, site.terms())


def test_git_is_bounded_and_says_what_is_absent(tmp_path: Path, repository: Make, site: Site) -> None:
    bare, _ = repository({"m.onnx": bytes(range(256)) * 100})
    with pytest.raises(TooLarge):
        fetch_git(f"git+file://{bare}", tmp_path / "a", site.terms(max_bytes=10_000))
    with pytest.raises(NotFound, match="absent"):
        fetch_git(f"git+file://{bare}#absent", tmp_path / "b", site.terms())
    with pytest.raises(Refused, match="nothing"):
        fetch_git(f"git+file://{bare}@nothing", tmp_path / "c", site.terms())


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3")) as address:
        yield address


def test_objects_and_prefixes_of_s3(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore
    from obstore.store import S3Store

    for name, text in {"ENDPOINT_URL": s3, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", text)
    store = S3Store("bucket", client_options={"allow_http": True})
    for key in ("team/m.onnx", "team/net/config.json", "team/net/deep/x.bin"):
        obstore.put(store, key, key.encode())
    settings = Settings(plain_http=True, max_source_bytes=1000)
    found = fetch(settings, "s3://bucket/team/m.onnx", tmp_path / "a")
    digest = hashlib.sha256(b"team/m.onnx").hexdigest()
    assert (found.path.read_bytes(), found.origin) == (b"team/m.onnx", f"s3://bucket/team/m.onnx#sha256={digest}")
    assert fetch(settings, f"s3://bucket/team/m.onnx#sha256={digest}", tmp_path / "b").path.is_file()
    with pytest.raises(InvalidFile):
        fetch(settings, f"s3://bucket/team/m.onnx#sha256={'0' * 64}", tmp_path / "c")
    folder = fetch(settings, "s3://bucket/team/net", tmp_path / "d").path
    assert (folder / "deep" / "x.bin").read_bytes() == b"team/net/deep/x.bin"
    with pytest.raises(NotFound):
        fetch(settings, "s3://bucket/absent", tmp_path / "e")
    with pytest.raises(TooLarge):
        fetch(Settings(plain_http=True, max_source_bytes=5), "s3://bucket/team/m.onnx", tmp_path / "f")


def test_markers_of_folders_are_no_files(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consoles and tools keep objects of no bytes, `net/` and `net/deep/`, where a person made a folder."""
    for name, text in {"ENDPOINT_URL": s3, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", text)
    files = {"config.json": b"{}", "deep/x.bin": b"x", "deep/empty.txt": b""}
    for key, data in {**files, "": b"", "deep/": b"", "bare/": b""}.items():
        headers = {"Host": "s3.amazonaws.com", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{s3}/bucket/marked/net/{key}", data=data, method="PUT", headers=headers)
        urllib.request.urlopen(request, timeout=10).close()
    settings = Settings(plain_http=True)
    for at, address in enumerate(("s3://bucket/marked/net", "s3://bucket/marked/net/", "s3://bucket/marked")):
        folder = fetch(settings, address, tmp_path / str(at)).path
        folder = folder / "net" if address.endswith("marked") else folder
        assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
    with pytest.raises(NotFound, match="nothing below"):
        fetch(settings, "s3://bucket/marked/net/bare", tmp_path / "bare")


def artifact(registry: FakeRegistry, *layers: tuple[str, bytes], kind: str = "application/octet-stream") -> str:
    described = []
    for title, data in (("", b"{}"), *layers):
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        registry.blobs[digest] = data
        notes = {"annotations": {"org.opencontainers.image.title": title}} if title else {}
        described.append({"mediaType": kind, "digest": digest, "size": len(data), **notes})
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described[0],
        "layers": described[1:],
    }
    data = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    registry.manifests["v1"] = registry.manifests[digest] = data
    return digest


def test_an_artifact_of_a_registry(tmp_path: Path) -> None:
    with fake_registry() as registry:
        settings = Settings(docker_config_file="", private_hosts=registry.host)
        digest = artifact(registry, ("m.onnx", b"model"))
        found = fetch(settings, f"oci://{registry.host}/team/net:v1", tmp_path / "a")
        assert (found.path.name, found.path.read_bytes()) == ("m.onnx", b"model")
        assert found.origin == f"oci://{registry.host}/team/net@{digest}"
        artifact(registry, ("config.json", b"{}"), ("deep/w.bin", b"w"))
        assert (fetch(settings, f"oci://{registry.host}/team/net:v1", tmp_path / "b").path / "deep" / "w.bin").is_file()
        artifact(registry, ("../x", b"{}"))
        with pytest.raises(InvalidFile, match="no plain path"):
            fetch(settings, f"oci://{registry.host}/team/net:v1", tmp_path / "c")
        artifact(registry, ("m.onnx", b"model"))
        registry.blobs[f"sha256:{hashlib.sha256(b'model').hexdigest()}"] = b"MODEL"
        with pytest.raises(InvalidFile, match="damaged"):
            fetch(settings, f"oci://{registry.host}/team/net:v1", tmp_path / "d")
        artifact(registry, ("aweigh.json", b"{}"), kind="application/vnd.aweigh.package.v1+json")
        with pytest.raises(Unsupported, match="a package already"):
            fetch(settings, f"oci://{registry.host}/team/net:v1", tmp_path / "e")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://example.org/a/fraud.v2.onnx?x=1", "fraud"),
        ("hf://team/MiniLM-L6@main", "minilm-l6"),
        ("hf://team/MiniLM-L6@refs/pr/1", "minilm-l6"),
        ("hf://team/MiniLM-L6@refs%2Fpr%2F1", "minilm-l6"),
        ("hf://team/MiniLM-L6@refs/pr/1/onnx/model.onnx", "model"),
        ("git+https://example.org/models.git@main#a/iris.onnx", "iris"),
        ("oci://registry.example/team/fraud:v3", "fraud"),
        ("s3://bucket/models/fraud.json#sha256=" + "0" * 64, "fraud"),
    ],
)
def test_names_made_from_addresses(text: str, name: str) -> None:
    assert name_from_address(text) == name

"""Images for tests: a base like distroless, an image of a small model, and what runs one. Made once, kept in a cache folder; used across tests.

The base is Debian's own packages without a shell (mmdebstrap); containers are run by runc with a read-only root, as nobody, with no new network.
"""

import contextlib
import fcntl
import functools
import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.remotes.servers import free_port, running

CACHE = Path(os.environ.get("AWEIGH_TEST_CACHE", "~/.cache/aweigh-tests")).expanduser() / "images"
PACKAGES = "python3-minimal,libpython3-stdlib,libstdc++6,ca-certificates,netbase,tzdata"
DEBIAN = "bookworm"
_LEFT_OUT = ("doc", "man", "locale", "info", "lintian")
_START_S = 60.0


def need(*programs: str) -> None:
    """Skip where a program is not installed; the package has the program's name."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (Debian package {program})")


def need_root() -> None:
    """Skip where containers cannot be made for want of leave."""
    if os.geteuid() != 0:
        pytest.skip("needs leave to make containers (root)")


def debian_base(architecture: str = "amd64") -> str:
    """An OCI layout, as `--base` takes it, with Debian's Python and no shell; made once. Skips where it cannot be made."""
    need("mmdebstrap")
    folder = CACHE / f"debian-{DEBIAN}-{architecture}"
    with _alone(folder):
        if not (folder / "index.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            archive = CACHE / f"debian-{architecture}.tar"
            _bootstrap(architecture, archive)
            write_layout(folder, archive, architecture)
            archive.unlink()
    return f"oci:{folder}"


def write_layout(folder: Path, archive: Path, architecture: str = "amd64", **config: object) -> None:
    """An OCI layout of one layer, of an archive of a root file system: written without aweigh."""
    plain = archive.read_bytes()
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    layer = put(gzip.compress(plain, 6, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
    image = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], **config},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "config": put(json.dumps(image).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [layer],
    }
    top = put(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))


def join_layouts(folder: Path, layouts: Mapping[str, Path]) -> None:
    """One layout with one image for several architectures."""
    entries = []
    for architecture, layout in layouts.items():
        shutil.copytree(layout / "blobs", folder / "blobs", dirs_exist_ok=True)
        (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
        entries.append({**entry, "platform": {"os": "linux", "architecture": architecture}})
    index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}).encode()
    digest = hashlib.sha256(index).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(index)
    top = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": f"sha256:{digest}", "size": len(index)}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))


def _bootstrap(architecture: str, archive: Path) -> None:
    words = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={PACKAGES}", f"--architectures={architecture}"]
    words += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    done = subprocess.run(
        [*words, DEBIAN, str(archive), _mirror()],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )
    if done.returncode:
        archive.unlink(missing_ok=True)
        pytest.skip(f"needs Debian's packages from a mirror: {done.stderr[-300:]}")


def _mirror() -> str:
    """Where this machine has its packages from."""
    listed = Path("/etc/apt/sources.list.d/debian.sources")
    lines = listed.read_text().splitlines() if listed.exists() else []
    found = next((line.split()[1] for line in lines if line.startswith("URIs:")), "")
    if not found:
        pytest.skip("needs Debian's packages from a mirror: none is named in debian.sources")
    return found


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time makes what lies there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class BuiltImage:
    """An image that was built, in a layout, and the home that its package is in."""

    layout: Path
    tag: str
    home: Path
    model: str
    document: Mapping[str, object]
    """What `aweigh image --json` said."""

    @property
    def digest(self) -> str:
        return str(self.document["digest"])

    @property
    def oci(self) -> str:
        """As skopeo, umoci and podman take it."""
        return f"{self.layout}:{self.tag}"

    def blob(self, digest: str) -> Path:
        """Where a blob of the layout lies."""
        return self.layout / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def manifest(self) -> Any:
        """The manifest: of the first platform where there are several."""
        found = json.loads(self.blob(self.digest).read_text())
        return json.loads(self.blob(found["manifests"][0]["digest"]).read_text()) if "manifests" in found else found

    def config(self) -> Any:
        """The config of the same."""
        return json.loads(self.blob(self.manifest()["config"]["digest"]).read_text())


def aweigh(home: Path, *words: str, said: str = "", **environment: str) -> str:
    """Run the installed command, which reads what is `said`, and return what it printed."""
    program = str(Path(sys.executable).with_name("aweigh"))
    done = subprocess.run(
        [program, *words],
        input=said,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "AWEIGH_HOME": str(home), **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def iris_home() -> Path:
    """A home with the package `iris` (a forest of iris flowers, ONNX), packed once."""
    home = CACHE / f"home-{_state('packing', 'store', 'verify')}"
    with _alone(home):
        if not (home / "iris.json").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            _pack_iris(home)
    return home


def _pack_iris(home: Path) -> None:
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    data = load_iris(as_frame=True)
    model = RandomForestClassifier(n_estimators=20, random_state=0).fit(data.data, data.target)
    joblib.dump(model, home / "iris.joblib")
    data.data.to_csv(home / "iris.csv", index=False)
    said = aweigh(home, "pack", str(home / "iris.joblib"), "--trust", "--name", "iris", "--sample", str(home / "iris.csv"), "--json")
    (home / "iris.json").write_text(said)


def iris_image(*words: str, architecture: str = "amd64") -> BuiltImage:
    """The image of `iris` on the Debian base; `words` are further options of `aweigh image`. Built once for each state of aweigh's files."""
    base = debian_base(architecture)
    home = iris_home()
    named = hashlib.sha256(" ".join((_state(), home.name, architecture, *words)).encode()).hexdigest()[:12]
    layout = CACHE / f"iris-{named}"
    with _alone(layout):
        said = layout / "said.json"
        if not said.exists():
            _forget_old()
            shutil.rmtree(layout, ignore_errors=True)
            options = ("--base", base, "--platform", f"linux/{architecture}", "--to", f"oci:{layout}:v1", "--json", *words)
            text = aweigh(home, "image", "iris", *options)
            said.write_text(text)
        return BuiltImage(layout=layout, tag="v1", home=home, model="iris", document=json.loads(said.read_text()))


def _forget_old() -> None:
    """Homes and images of states of aweigh that nobody tests any more."""
    for path in (*CACHE.glob("iris-*"), *CACHE.glob("home-*")):
        if path.is_dir() and path.stat().st_mtime < time.time() - 2 * 86400:
            shutil.rmtree(path, ignore_errors=True)


@functools.cache
def _state(*folders: str) -> str:
    """A digest of aweigh's own files, of all or those of these folders: what was built of others is not taken for theirs."""
    root = Path(__file__).resolve().parents[1] / "src" / "aweigh"
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        mine = not folders or path.relative_to(root).parts[0] in folders
        if mine and path.is_file() and "__pycache__" not in path.parts:
            found.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return found.hexdigest()[:12]


@dataclass
class Container:
    """A container that runs under runc, on this machine's network."""

    name: str
    port: int
    bundle: Path
    process: "subprocess.Popen[bytes]"
    log: Path
    started: float

    def get(self, path: str) -> tuple[int, bytes]:
        return self._ask(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def post(self, path: str, document: object) -> tuple[int, bytes]:
        data = json.dumps(document).encode()
        return self._ask(
            urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, headers={"Content-Type": "application/json"})
        )

    def _ask(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def execute(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        return subprocess.run([*RUNC, "exec", self.name, *words], capture_output=True, text=True, timeout=60, check=False)

    def stop(self, number: int = signal.SIGTERM, *, within_s: float = 20.0) -> int:
        """Send a signal to its first process; the exit status."""
        subprocess.run([*RUNC, "kill", self.name, str(int(number))], capture_output=True, timeout=20, check=False)
        return self.process.wait(within_s)

    def wait_ready(self, path: str = "/v2/health/ready") -> float:
        """Until it answers with 200; seconds since it was started."""
        while time.monotonic() < self.started + _START_S:
            with contextlib.suppress(OSError):
                if self.get(path)[0] == 200:
                    return time.monotonic() - self.started
            assert self.process.poll() is None, self.said()
            time.sleep(0.005)
        raise AssertionError(f"not ready in {_START_S:.0f} s: {self.said()}")

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


RUNC = ("runc", "--root", "/run/aweigh-tests-runc")


def unpack(image: BuiltImage, folder: Path | None = None) -> Path:
    """The bundle of an image, as runc takes it: unpacked once, and kept beside the layout unless a folder is named. Nobody writes in it."""
    need("runc")
    need_root()
    bundle = folder or image.layout / "bundle"
    with _alone(bundle):
        if not (bundle / "config.json").exists():
            shutil.rmtree(bundle, ignore_errors=True)
            bundle.mkdir(parents=True)
            _unpack(image, bundle)
    return bundle


def _unpack(image: BuiltImage, bundle: Path) -> None:
    config = image.config()
    for descriptor in image.manifest()["layers"]:
        with tarfile.open(image.blob(descriptor["digest"])) as layer:
            layer.extractall(bundle / "rootfs", filter="fully_trusted")
    subprocess.run(["runc", "spec", "--bundle", str(bundle)], check=True, timeout=30)
    spec = json.loads((bundle / "config.json").read_text())
    started = config["config"]
    user, _, group = started["User"].partition(":")
    spec["process"] |= {
        "args": [*started["Entrypoint"], *started.get("Cmd", [])],
        "env": started["Env"],
        "cwd": started["WorkingDir"],
        "user": {"uid": int(user), "gid": int(group)},
    }
    spec["root"] = {"path": "rootfs", "readonly": True}
    (bundle / "config.json").write_text(json.dumps(spec))


def qemu_for(architecture: str) -> Path:
    """A static qemu of version 10 or later, which runs ONNX Runtime where 7 crashes: Debian's, from backports; fetched once, installed nowhere."""
    name = {"arm64": "qemu-aarch64"}[architecture]
    program = CACHE / "qemu" / name
    with _alone(CACHE / "qemu"):
        if not program.exists():
            _fetch_qemu(program)
    return program


def _fetch_qemu(program: Path) -> None:
    need("apt-get", "dpkg-deb")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for needed in ("lists/partial", "cache/archives/partial"):
            (folder / needed).mkdir(parents=True)
        listed = f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {_mirror()} {DEBIAN}-backports main\n"
        (folder / "sources.list").write_text(listed)
        told = {"Dir::Etc::sourcelist": "sources.list", "Dir::State::lists": "lists", "Dir::Cache": "cache"}
        options = [word for key, place in told.items() for word in ("-o", f"{key}={folder / place}")]
        apt = ["apt-get", *options, "-o", "Dir::Etc::sourceparts=-", "-o", "APT::Sandbox::User=root"]
        for words in ([*apt, "update"], [*apt, "download", "qemu-user"]):
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=180, check=False)
        found = next(folder.glob("qemu-user_*.deb"), None)
        if found is None:
            pytest.skip(f"needs qemu 10 (Debian package qemu-user, from backports): {done.stderr[-200:]}")
        subprocess.run(["dpkg-deb", "-x", str(found), str(folder / "x")], check=True, timeout=60)
        program.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "x/usr/bin" / program.name, program)


@contextlib.contextmanager
def run_container(
    bundle: Path,
    folder: Path,
    *,
    command: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    port: int = 0,
    ready: str = "/v2/health/ready",
    change: Callable[[dict[str, Any]], None] | None = None,
) -> Iterator[Container]:
    """Run a bundle by runc with a read-only root on this machine's network, until the block ends. `ready` = '' does not wait.

    The port goes in as PORT; `command` replaces all arguments.
    """
    need("runc")
    need_root()
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    spec = json.loads((bundle / "config.json").read_text())
    _adapt(spec, {"PORT": str(port), "AWEIGH_HOST": "127.0.0.1", **(environment or {})}, command)
    if change is not None:
        change(spec)
    ran = folder / "bundle"
    ran.mkdir(exist_ok=True)
    spec["root"] = {"path": str((bundle / "rootfs").resolve()), "readonly": True}
    (ran / "config.json").write_text(json.dumps(spec))
    name = f"aweigh-{os.getpid()}-{port}"
    log = folder / "log"
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen([*RUNC, "run", "--bundle", str(ran), name], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        container = Container(name=name, port=port, bundle=ran, process=process, log=log, started=started)
        try:
            if ready:
                container.wait_ready(ready)
            yield container
        finally:
            if process.poll() is None:
                subprocess.run([*RUNC, "kill", name, "KILL"], capture_output=True, timeout=20, check=False)
                process.wait(20)
            subprocess.run([*RUNC, "delete", "--force", name], capture_output=True, timeout=20, check=False)


def _adapt(spec: dict[str, Any], environment: Mapping[str, str], command: Sequence[str]) -> None:
    """As targets.md found it needed: no terminal, this machine's network, 1024 files."""
    process, linux = spec["process"], spec["linux"]
    process["terminal"] = False
    known = dict(line.split("=", 1) for line in process.get("env", []))
    process["env"] = [f"{name}={value}" for name, value in {**known, **environment}.items()]
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
    if command:
        process["args"] = list(command)
    linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "network"]


@contextlib.contextmanager
def plain_registry(folder: Path) -> Iterator[str]:
    """A docker-registry without TLS and password, as Docker takes it on this machine; its host and port."""
    need("docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "config.yml"
    config.write_text(f'version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nhttp: {{addr: "127.0.0.1:{port}"}}\n')
    with running(["docker-registry", "serve", str(config)], port, folder / "log"):
        yield f"127.0.0.1:{port}"


def wait_until(true: Callable[[], bool], *, within_s: float = 60.0) -> None:
    """Ask until it is so."""
    until = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < until, f"not within {within_s:.0f} s"
        time.sleep(0.2)


@contextlib.contextmanager
def docker_engine(folder: Path) -> Iterator[Callable[..., str]]:
    """A real dockerd without networks of its own; what runs `docker` against it and returns what that printed."""
    need_root()
    if shutil.which("dockerd") is None or shutil.which("docker") is None:
        pytest.skip("needs dockerd (Debian package docker.io)")
    folder.mkdir(parents=True, exist_ok=True)
    short = Path(tempfile.mkdtemp(prefix="aw-", dir="/tmp"))  # a socket's path may have 107 characters
    address = f"unix://{short}/s"
    words = ["dockerd", "--data-root", str(folder / "data"), "--exec-root", str(short / "exec"), "--pidfile", str(short / "pid")]
    words += ["--host", address, "--iptables=false", "--ip-forward=false", "--bridge=none", "--default-ulimit", "nofile=1024:1024"]
    words += ["--cgroup-parent", f"/{short.name}"]

    def docker(*command: str, check: bool = True) -> str:
        done = subprocess.run(
            [_docker(), "--host", address, *command],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "DOCKER_BUILDKIT": "0"},
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout + ("" if check else done.stderr)

    log = folder / "dockerd.log"
    with log.open("wb") as output, subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process:
        try:
            _wait_for(docker, process, log)
            yield docker
        finally:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                if running := docker("ps", "--quiet", "--all", check=False).split():
                    docker("rm", "--force", *running, check=False)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
            for left in short.glob("exec/netns/*"):
                subprocess.run(["umount", str(left)], capture_output=True, timeout=20, check=False)
            shutil.rmtree(short, ignore_errors=True)
            for group in Path("/sys/fs/cgroup").glob(f"**/{short.name}"):
                with contextlib.suppress(OSError):
                    group.rmdir()


def _docker() -> str:
    """Debian's client beside its own engine, where there is another one on the path."""
    return "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"


def _wait_for(docker: Callable[..., str], process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if "Server Version" in docker("info", check=False):
            return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    pytest.skip(f"needs a dockerd that starts here: {log.read_text(errors='replace')[-300:]}")

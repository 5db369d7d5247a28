"""An image that was built from Python: accepted by skopeo, kept unchanged by a real registry, run by runc and by a real Docker engine, with the golden answers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.deploying.packages import pack_linear
from tests.images import (
    BuiltImage,
    Container,
    aweigh,
    debian_base,
    docker_engine,
    free_port,
    iris_image,
    join_layouts,
    need,
    need_root,
    plain_registry,
    qemu_for,
    run_container,
    unpack,
    wait_until,
)
from tests.remotes.servers import PASSWORD, USER, docker_registry

from aweigh.app.packages import open_store
from aweigh.client import Client
from aweigh.core.golden import read_golden
from aweigh.core.names import parse_reference
from aweigh.core.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.timeout(500)]
BUDGET_BYTES = 90_000_000


@pytest.fixture(scope="module")
def image() -> BuiltImage:
    return iris_image()


@pytest.fixture(scope="module")
def container(image: BuiltImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with run_container(unpack(image), tmp_path_factory.mktemp("container")) as running:
        yield running


def answers_as_golden(url: str, image: BuiltImage) -> int:
    """Ask every golden case; how many rows were compared."""
    package = open_store(Settings(home=str(image.home))).open(parse_reference(image.model))
    golden = read_golden(package.manifest, package.path)
    rows = 0
    with Client(url) as client:
        for case in golden:
            answered = client.infer(image.model, case.inputs)
            for spec, expected in zip(package.manifest.signature.outputs, case.outputs, strict=True):
                if expected.dtype.kind == "f":
                    np.testing.assert_allclose(answered[spec.name], expected, rtol=1e-5, atol=1e-6)
                else:
                    np.testing.assert_array_equal(answered[spec.name], expected)
            rows += case.rows
    return rows


def test_skopeo_accepts_it_and_it_is_small(image: BuiltImage) -> None:
    need("skopeo")
    seen = json.loads(subprocess.run(["skopeo", "inspect", f"oci:{image.oci}"], capture_output=True, check=True, timeout=60).stdout)
    assert seen["Digest"] == image.digest
    assert seen["Labels"]["org.opencontainers.image.title"] == "iris"
    started = image.config()["config"]
    assert started["User"] == "65532:65532"
    assert started["StopSignal"] == "SIGTERM"
    assert "ORT_DISABLE_TELEMETRY=1" in started["Env"]
    size = sum(layer["size"] for layer in image.manifest()["layers"])
    print(f"compressed: {size / 1e6:.1f} MB")
    assert size < BUDGET_BYTES
    holds = [line["created_by"].partition(":")[2].split()[0] for line in image.config()["history"][1:]]
    assert holds == ["bytecode", "libraries:", "aweigh", "model"]


def test_runc_runs_it_with_the_golden_answers(container: Container, image: BuiltImage) -> None:
    assert answers_as_golden(f"http://127.0.0.1:{container.port}", image) > 0
    who = container.execute(
        "/usr/bin/python3.11", "-c", "import os; print(os.getuid(), os.access('/models', os.W_OK), os.access('/', os.W_OK))"
    )
    assert who.stdout.split() == ["65532", "False", "False"]
    assert container.execute(*image.config()["config"]["Healthcheck"]["Test"][1:]).returncode == 0


def test_every_module_has_its_bytecode(container: Container) -> None:
    """Nothing is compiled at a start: the modules that the server imported come from files that lie beside them."""
    code = (
        "import aweigh.serve.server, aweigh.app.serve, aweigh.runtimes.onnxruntime, sys, os;"
        "print([n for n, m in sys.modules.items() if getattr(m, '__cached__', None) and not os.path.exists(m.__cached__)])"
    )
    assert container.execute("/usr/bin/python3.11", "-c", code).stdout.strip() == "['sitecustomize']", "Debian's, a link to an empty file"


def test_sigterm_drains_and_health_says_no_before_it_answers(image: BuiltImage, tmp_path: Path) -> None:
    with run_container(unpack(image), tmp_path / "run") as running:
        assert running.stop() == 0
    health = Path(sys.modules["aweigh"].__file__ or "").parent / "deploy/images/health.py"
    done = subprocess.run([sys.executable, "-S", "-E", str(health)], env={"PORT": str(free_port())}, timeout=30, check=False)
    assert done.returncode == 1


def test_a_registry_keeps_it_unchanged_and_takes_only_what_is_new(image: BuiltImage, tmp_path: Path) -> None:
    need("docker-registry", "skopeo")
    program = shutil.which("docker-registry") or ""
    with docker_registry(program, tmp_path / "registry") as registry:
        options = ("--base", debian_base(), "--username", USER, "--password-stdin", "--ca-file", str(registry.ca_file), "--json")
        address = f"{registry.host}/team/iris"
        first = json.loads(aweigh(image.home, "image", "iris", "--to", f"{address}:v1", *options, said=PASSWORD))
        assert first["digest"] == image.digest
        again = json.loads(aweigh(image.home, "image", "iris", "--to", f"{address}:v1", *options, said=PASSWORD))
        assert again["sent"] == {"sent": 0, "sent_bytes": 0, "kept": first["sent"]["sent"]}
        home = tmp_path / "home"
        home.mkdir()
        pack_linear(home)
        second = json.loads(aweigh(home, "image", "linear", "--to", f"{address}:v2", *options, said=PASSWORD))
        model = second["platforms"][0]["layers"][-1]["size_bytes"]
        assert second["sent"]["sent_bytes"] < model + 40_000, "the base, the libraries and aweigh were there"
        assert f"PUT /v2/team/iris/manifests/{image.digest.replace(':', '-')} 201" in registry.requests(), (
            "referrers, for registries that list none"
        )
        back = tmp_path / "back"
        words = [
            "skopeo",
            "copy",
            "--src-tls-verify=false",
            "--src-creds",
            f"{USER}:{PASSWORD}",
            f"docker://{address}:v1",
            f"oci:{back}:v1",
        ]
        subprocess.run([*words[:2], "--insecure-policy", *words[2:]], check=True, capture_output=True, timeout=120)
    assert json.loads((back / "index.json").read_text())["manifests"][0]["digest"] == image.digest


def test_the_runner_in_an_image_answers_the_same(image: BuiltImage, tmp_path: Path) -> None:
    small = iris_image("--runner")
    sizes = {each.model: sum(layer["size"] for layer in each.manifest()["layers"]) for each in (small,)}
    print(f"compressed, with the runner: {sizes['iris'] / 1e6:.1f} MB")
    assert sizes["iris"] < 0.6 * sum(layer["size"] for layer in image.manifest()["layers"])
    with run_container(unpack(small), tmp_path / "run") as running:
        assert answers_as_golden(f"http://127.0.0.1:{running.port}", image) > 0
        assert running.execute(*small.config()["config"]["Healthcheck"]["Test"][1:]).returncode == 0
        assert running.stop() == 0


def test_an_image_of_another_architecture_runs_under_qemu(tmp_path: Path) -> None:
    """Built here for arm64; its own server answers, through an emulator that is put beside it."""
    need_root()
    program = qemu_for("arm64")
    built = iris_image(architecture="arm64")
    assert built.config()["architecture"] == "arm64"

    def emulated(spec: dict[str, Any]) -> None:
        spec["process"]["args"] = ["/tmp/qemu", "-cpu", "cortex-a72", *spec["process"]["args"]]
        spec["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]},
            {"destination": "/tmp/qemu", "type": "bind", "source": str(program), "options": ["bind", "ro"]},
        ]

    with run_container(unpack(built), tmp_path / "run", change=emulated) as running:
        assert answers_as_golden(f"http://127.0.0.1:{running.port}", built) > 0
        assert running.stop() == 0


def test_one_index_over_two_architectures(image: BuiltImage, tmp_path: Path) -> None:
    """The platforms of an index have the digests that they have alone."""
    bases = tmp_path / "bases"
    join_layouts(bases, {name: Path(debian_base(name).removeprefix("oci:")) for name in ("amd64", "arm64")})
    words = ("--base", f"oci:{bases}", "--platform", "linux/amd64,linux/arm64", "--to", f"oci:{tmp_path}/out:v1", "--json")
    said = json.loads(aweigh(image.home, "image", "iris", *words))
    alone = iris_image(architecture="arm64")
    assert [each["digest"] for each in said["platforms"]] == [image.digest, alone.digest]
    need("skopeo")
    words = ("skopeo", "inspect", "--override-arch", "arm64", f"oci:{tmp_path}/out:v1")
    assert json.loads(subprocess.run(words, capture_output=True, check=True, timeout=60).stdout)["Architecture"] == "arm64"


@pytest.mark.alone
def test_a_docker_engine_runs_it_and_pulls_the_same_digest(image: BuiltImage, tmp_path: Path) -> None:
    need("docker-registry")
    with plain_registry(tmp_path / "registry") as host, docker_engine(tmp_path / "docker") as docker:
        folder = tmp_path / "folder"
        aweigh(image.home, "image", "iris", "--base", debian_base(), "--to", f"{host}/team/iris:v1", "--plain-http")
        named = f"{host}/team/iris@{image.digest}"
        docker("pull", "--quiet", named)
        port = free_port()
        hardened = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
        told = ("--env", f"PORT={port}", "--env", "AWEIGH_HOST=127.0.0.1")
        name = docker("run", "--detach", "--network", "host", *hardened, *told, named).split()[0]
        wait_until(lambda: docker("inspect", "--format", "{{.State.Health.Status}}", name).strip() == "healthy")
        assert answers_as_golden(f"http://127.0.0.1:{port}", image) > 0
        docker("stop", "--time", "15", name)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"
        aweigh(image.home, "image", "iris", "--base", _pushed_base(host), "--plain-http", "--dockerfile", str(folder))
        docker("build", "--quiet", "--tag", "built", str(folder))
        port = free_port()
        name = docker(
            "run", "--detach", "--network", "host", *hardened, "--env", f"PORT={port}", "--env", "AWEIGH_HOST=127.0.0.1", "built"
        ).split()[0]
        wait_until(lambda: docker("inspect", "--format", "{{.State.Health.Status}}", name).strip() == "healthy")
        assert answers_as_golden(f"http://127.0.0.1:{port}", image) > 0


def _pushed_base(host: str) -> str:
    need("skopeo")
    words = ["skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", debian_base(), f"docker://{host}/base:debian"]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    return f"{host}/base:debian"


def test_built_elsewhere_it_has_the_same_digest(image: BuiltImage, tmp_path: Path) -> None:
    """Another folder, home, umask, time zone and cache; the wheels alone are taken over, because an index is asked for them by other tests."""
    cache = tmp_path / "other" / "cache"
    cache.mkdir(parents=True)
    shutil.copytree(Path("~/.cache/aweigh/images/wheels").expanduser(), cache / "wheels")
    shutil.copytree(image.home, tmp_path / "home")
    base = tmp_path / "a base"
    shutil.copytree(debian_base().removeprefix("oci:"), base)
    before = os.umask(0o077)
    try:
        said = aweigh(
            tmp_path / "home",
            *("image", "iris", "--base", f"oci:{base}", "--to", f"oci:{tmp_path}/out", "--json"),
            AWEIGH_IMAGE_CACHE=str(cache),
            TZ="Pacific/Chatham",
            PYTHONHASHSEED="77",
        )
    finally:
        os.umask(before)
    assert json.loads(said)["digest"] == image.digest


def test_openssl_verifies_what_was_signed(image: BuiltImage, tmp_path: Path) -> None:
    need("openssl")
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(key)], check=True, capture_output=True
    )
    subprocess.run(["openssl", "pkey", "-in", str(key), "-pubout", "-out", str(public)], check=True, capture_output=True)
    layout = tmp_path / "layout"
    aweigh(image.home, "image", "iris", "--base", debian_base(), "--to", f"oci:{layout}:v1", "--sign-key", str(key))
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    tags = {entry.get("annotations", {}).get("org.opencontainers.image.ref.name"): entry["digest"] for entry in entries}

    def blob(digest: str) -> bytes:
        return (layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()

    manifest = json.loads(blob(tags[f"{image.digest.replace(':', '-')}.sig"]))
    assert manifest["subject"]["digest"] == image.digest
    payload = tmp_path / "payload"
    payload.write_bytes(blob(manifest["layers"][0]["digest"]))
    assert json.loads(payload.read_text())["critical"]["image"]["docker-manifest-digest"] == image.digest
    import base64

    signature = tmp_path / "signature"
    signature.write_bytes(base64.b64decode(manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"]))
    words = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(signature), str(payload)]
    assert b"Verified OK" in subprocess.run(words, check=True, capture_output=True).stdout
    listed = json.loads(blob(tags[image.digest.replace(":", "-")]))["manifests"]
    kinds = {each["artifactType"] for each in listed}
    assert {"application/spdx+json", "application/vnd.in-toto+json"} <= kinds
    parts = next(json.loads(blob(each["digest"])) for each in listed if each["artifactType"] == "application/spdx+json")
    names = {package["name"] for package in json.loads(blob(parts["layers"][0]["digest"]))["packages"]}
    assert {"onnxruntime", "numpy", "aweigh", "base"} <= names

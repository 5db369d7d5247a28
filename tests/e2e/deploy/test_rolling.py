"""The rendered Deployment, really run by `podman play kube`: it answers, and rolls from one version to the next under load.

Two pods of version 1 behind haproxy, which asks `/ready` as a kubelet would; a pod of version 2 starts, gets ready, then one of version 1 gets SIGTERM and drains; twice.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper
from tests.deploying.packages import ROWS, WEIGHTS, deploy, linear, publish
from tests.images import debian_base, need_root

from aweigh.app.image import ImageOptions, make_image
from aweigh.core.settings import Settings

DRIVER = Path(__file__).with_name("rolling.py")
NAMESPACES = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
X = ROWS[:2]
GRACE_S = 40
"""What is rendered: 5 s in which whoever sends requests hears of the end, 30 s to answer what is under way, and 5 to spare."""
pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.alone, pytest.mark.timeout(300)]


def images(folder: Path) -> dict[str, str]:
    """Of two versions, of which the second answers twice as much; by the name that podman gives them."""
    home = folder / "home"
    home.mkdir()
    made = {}
    for version in (1, 2):
        model = linear()
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(version * WEIGHTS, "W"))
        publish(home, "linear", model)
        (home / "work-linear").rename(folder / f"work-{version}")
        where = f"{folder}/image-{version}:v{version}"
        make_image(Settings(home=str(home)), f"linear:{version}", ImageOptions(to=f"oci:{where}", base=debian_base()))
        made[f"localhost/linear:v{version}"] = where
    return made


def rendered(folder: Path, name: str, version: int) -> dict[str, object]:
    out = folder / name
    said = {"name": name, "image": f"localhost/linear:v{version}", "scale": "1"}
    done = deploy(folder / "home", f"linear:{version}", "kubernetes", out, **said)
    assert not [each for each in done.findings if each.fatal]
    return {"file": str(out / "base/deployment.yaml"), "grace_s": GRACE_S}


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of it all: in one go, because the images are brought to Podman once."""
    podman, haproxy = shutil.which("podman"), shutil.which("haproxy")
    if not (podman and haproxy):
        pytest.skip(f"needs {'haproxy' if podman else 'podman'} (Debian package {'haproxy' if podman else 'podman'})")
    need_root()
    if subprocess.run([*NAMESPACES, "true"], capture_output=True, timeout=20, check=False).returncode:
        pytest.skip("needs leave to make containers (namespaces of its own)")
    folder = tmp_path_factory.mktemp("rolling")
    plan = {
        "haproxy": haproxy,
        "python": "/usr/bin/python3.11",
        "images": images(folder),
        "home": str(folder / "home"),
        "old": [rendered(folder, name, 1) for name in ("one-a", "one-b")],
        "new": [rendered(folder, name, 2) for name in ("two-a", "two-b")],
        "x": X.tolist(),
        "answers": [(X @ WEIGHTS).tolist(), (X @ (2 * WEIGHTS)).tolist()],
    }
    with tempfile.TemporaryDirectory(prefix="pods-") as short:  # Podman takes no long paths
        try:
            found = _run(folder / "plan.json", {**plan, "folder": short})
        finally:
            _remove_groups()
    if "unable" in found:
        pytest.skip(f"needs leave to make containers (podman: {found['unable']})")
    return found


def _remove_groups() -> None:
    """The control groups that Podman made and left: those alone that nobody is in can be removed."""
    for parent in (*Path("/sys/fs/cgroup").glob("libpod_parent"), *Path("/sys/fs/cgroup").glob("*/libpod_parent")):
        for group in sorted((each for each in (parent, *parent.rglob("*")) if each.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                group.rmdir()


def _run(path: Path, plan: dict[str, object]) -> dict[str, Any]:
    """In namespaces of its own: networks, rules, mounts and processes end with them."""
    path.write_text(json.dumps(plan))
    words = [*NAMESPACES, sys.executable, str(DRIVER), str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=270, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_roll_under_load_loses_nothing(came: dict[str, Any]) -> None:
    roll = came["roll"]
    assert roll["lost"] == [], roll
    assert min(roll["by_version"]) > 60, roll
    assert roll["slowest_s"] < 5, roll
    assert max(roll["stops_s"]) < GRACE_S, roll
    assert roll["states"] == ["Exited", "Exited", "Running", "Running"], roll


@pytest.mark.parametrize("kind", ["podman", "docker"])
def test_a_target_of_one_machine_replaces_what_runs_and_leaves_nothing(came: dict[str, Any], kind: str) -> None:
    if kind not in came:
        pytest.skip("needs docker (Debian package docker.io)")
    for version, answer in enumerate(came[kind]["answers"], 1):
        np.testing.assert_allclose(answer, X @ (version * WEIGHTS), atol=1e-4)
    assert came[kind]["left"] == ""

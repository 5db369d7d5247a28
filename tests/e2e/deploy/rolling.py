"""Run inside namespaces of its own (network, mounts, processes): pods by `podman play kube`, haproxy in front of them, load on it, and a roll from one version to the next.

`python rolling.py PLAN.json` prints what came of it as JSON. The pods are what `aweigh deploy --to kubernetes` rendered, each given a port of the node.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import yaml

import aweigh
from aweigh.app.deploy import DeployOptions, deploy_package, undeploy_package
from aweigh.core.plugins import load
from aweigh.core.settings import Settings
from aweigh.deploy.commands import Commands
from aweigh.deploy.target import Target

PER_S = 60.0
CLIENTS = 6
FRONT = 18080
PROXY = """
global
    maxconn 4000
defaults
    mode http
    timeout connect 500ms
    timeout client 60s
    timeout server 35s
    timeout http-keep-alive 60s
    timeout check 1s
    balance leastconn
    retries 2
    option redispatch 1
    retry-on conn-failure empty-response 503
    option httpchk
    http-check send meth GET uri /ready
    http-check expect status 200
    default-server inter 500ms fastinter 200ms fall 2 rise 1
frontend inference
    bind 127.0.0.1:{front}
    default_backend rest
backend rest
"""


class Pods:
    """Podman with a store and state of its own, by which every `podman` that this process starts goes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "containers.conf").write_text(
            '[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=4096:4096"]\n'
            f'[engine]\nruntime="runc"\ncgroup_manager="cgroupfs"\nevents_logger="file"\ntmp_dir="{folder}/tmp"\n'
        )
        (folder / "storage.conf").write_text(f'[storage]\ndriver="overlay"\ngraphroot="{folder}/root"\nrunroot="{folder}/run"\n')
        os.environ["CONTAINERS_CONF"] = str(folder / "containers.conf")
        os.environ["CONTAINERS_STORAGE_CONF"] = str(folder / "storage.conf")

    def run(self, *words: str) -> str:
        done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(f"podman {' '.join(words[:3])}: {done.stderr[-1500:]}")
        return done.stdout.strip()

    def pull(self, layout: str, name: str) -> None:
        self.run("tag", self.run("pull", "--quiet", f"oci:{layout}"), name)

    def play(self, manifest: str, port: int) -> str:
        """As rendered, with a port of this node: there is no Service here that finds pods. The pod, once it is ready."""
        deployment = yaml.safe_load(Path(manifest).read_bytes())
        deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0] |= {"hostPort": port, "hostIP": "127.0.0.1"}
        played = self._folder / f"{port}.yaml"
        played.write_text(json.dumps(deployment))
        said = self.run("play", "kube", str(played)).splitlines()
        until(lambda: get(port, "/ready") == b"ready\n")
        return said[said.index("Pod:") + 1]

    def stop(self, pod: str, grace_s: int) -> None:
        """As a kubelet: the server first, the pod's network after it. `podman pod stop` takes the network away at once."""
        named = self.run("ps", "--filter", f"pod={pod}", "--format", "{{.Names}}").splitlines()
        self.run("stop", "--time", str(grace_s), *(name for name in named if not name.endswith("-infra")))
        self.run("pod", "stop", pod)


class Asking:
    """Clients at a steady rate that try nothing twice."""

    def __init__(self, x: np.ndarray, answers: list[np.ndarray]) -> None:
        self.by_version = [0] * len(answers)
        self.lost: list[str] = []
        self.slowest_s = 0.0
        self._x, self._answers = x, answers
        self._client = aweigh.Client(f"http://127.0.0.1:{FRONT}", timeout_s=20, retries=0)
        self._lock, self._stop, self._due = threading.Lock(), threading.Event(), time.monotonic()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self._client.close()

    def _ask(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                self._due = due = max(self._due + 1 / PER_S, time.monotonic() - 1)
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            began = time.monotonic()
            try:
                outputs = self._client.infer("linear", {"x": self._x})
                found = next(at for at, answer in enumerate(self._answers) if np.allclose(outputs["y"], answer, atol=1e-4))
            except Exception as error:  # whatever it is, a request was lost
                with self._lock:
                    self.lost.append(f"{type(error).__name__}: {error}"[:300])
                continue
            with self._lock:
                self.by_version[found] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
        return bytes(answer.read())


def until(true: Any, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if true():
                return
        time.sleep(0.05)
    raise RuntimeError("it did not come to be")


def roll(plan: Any, pods: Pods, folder: Path) -> dict[str, Any]:
    ports = list(range(18081, 18085))
    servers = "".join(f"    server s{port} 127.0.0.1:{port} check\n" for port in ports)
    (folder / "haproxy.cfg").write_text(PROXY.replace("{front}", str(FRONT)) + servers)
    old, new = plan["old"], plan["new"]
    with contextlib.ExitStack() as ending:
        ending.callback(pods.run, "pod", "rm", "--all", "--force")
        running = [pods.play(manifest["file"], port) for manifest, port in zip(old, ports, strict=False)]
        proxy = ending.enter_context(subprocess.Popen([plan["haproxy"], "-db", "-q", "-f", str(folder / "haproxy.cfg")]))
        ending.callback(proxy.terminate)
        until(lambda: get(FRONT, "/ready"))
        stops = []
        with Asking(np.array(plan["x"], np.float32), [np.array(each, np.float32) for each in plan["answers"]]) as asking:
            time.sleep(1)
            for pod, after, port in zip(running, new, ports[2:], strict=True):
                pods.play(after["file"], port)
                time.sleep(1.5)  # until the proxy asks it
                began = time.monotonic()
                pods.stop(pod, after["grace_s"])
                stops.append(time.monotonic() - began)
            time.sleep(1)
        states = pods.run("pod", "ps", "--format", "{{.Status}}").split()
    return {"by_version": asking.by_version, "lost": asking.lost, "slowest_s": asking.slowest_s, "stops_s": stops, "states": sorted(states)}


def replaced(plan: Any, kind: str, pods: Pods) -> dict[str, Any]:
    """By the target itself: applied, applied again with the next version, taken away, and taken away once more."""
    settings, x = Settings(home=plan["home"]), np.array(plan["x"], np.float32)
    answers, took = [], []
    for version in (1, 2):
        options = DeployOptions(
            target=kind,
            name="served",
            out=f"{plan['home']}/{kind}-{version}",
            image=f"localhost/linear:v{version}",
            apply=True,
            set=(f"publish=127.0.0.1:{FRONT}",),
        )
        began = time.monotonic()
        done = deploy_package(settings, f"linear:{version}", options)
        until(lambda: get(FRONT, "/ready"))
        took.append(time.monotonic() - began)
        with aweigh.Client(f"http://127.0.0.1:{FRONT}", timeout_s=20) as client:
            answers.append(client.infer("linear", {"x": x})["y"].tolist())
    undeploy_package(settings, "served", target=kind)
    assert done.deployment is not None
    target = cast("type[Target]", load("target", kind))()
    target.remove(done.deployment.facts, done.folder, Commands())
    return {"answers": answers, "took_s": took, "left": pods.run("ps", "--all", "--quiet")}


@contextlib.contextmanager
def docker_on(folder: Path) -> Iterator[None]:
    """Podman as the engine that the docker client talks to."""
    socket = f"unix://{folder}/docker.sock"
    ended = threading.Event()

    def look_after() -> None:
        """Podman runs health checks by timers of systemd, which is not here."""
        while not ended.wait(1):
            subprocess.run(["podman", "healthcheck", "run", "served"], capture_output=True, timeout=30, check=False)

    looking = threading.Thread(target=look_after)
    with subprocess.Popen(["podman", "system", "service", "--time=0", socket]) as engine:
        os.environ["DOCKER_HOST"] = socket
        looking.start()
        try:
            until((folder / "docker.sock").exists)
            yield
        finally:
            ended.set()
            looking.join()
            engine.terminate()


def all_of(plan: Any, folder: Path) -> dict[str, Any]:
    pods = Pods(folder)
    try:
        for name, layout in plan["images"].items():
            pods.pull(layout, name)
        pods.run("run", "--rm", "--pod", "new:trial", "--entrypoint", plan["python"], next(iter(plan["images"])), "-c", "pass")
        pods.run("pod", "rm", "--force", "trial")
    except RuntimeError as error:  # before anything of aweigh's runs: this machine does not let Podman
        return {"unable": str(error)[-300:]}
    came = {"roll": roll(plan, pods, folder), "podman": replaced(plan, "podman", pods)}
    if shutil.which("docker"):
        with docker_on(folder):
            came["docker"] = replaced(plan, "docker", pods)
    return came


if __name__ == "__main__":
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    document = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(all_of(document, Path(document["folder"]))))

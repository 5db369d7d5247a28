"""Real servers for tests of push and pull: Debian's docker-registry with TLS and a password, and moto's S3. Started on loopback, ended by pid."""

import contextlib
import dataclasses
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import trustme

START_S = 20.0
USER, PASSWORD = "team", "pw"
HTPASSWD = "team:$2b$04$UNitRXyKO8W3i1ky5vWlUODFJ1zypnerFWKS.FIODRmkbGEnVsxAC\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclasses.dataclass(frozen=True)
class Registry:
    """A docker-registry that runs."""

    host: str
    ca_file: Path
    log: Path

    def requests(self) -> list[str]:
        """What it was asked, as `METHOD path status`, without query."""
        found = re.findall(r'"([A-Z]+) (/v2/[^ "?]*)[^"]*" (\d+)', self.log.read_text(errors="replace"))
        return [" ".join(each) for each in found]


@contextlib.contextmanager
def docker_registry(program: str, folder: Path) -> Iterator[Registry]:
    """Run docker-registry with TLS (a certificate of its own authority) and a password."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    (folder / "htpasswd").write_text(HTPASSWD)
    port = free_port()
    (folder / "config.yml").write_text(
        f"""version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:{port}", tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}}}
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
"""
    )
    with running([program, "serve", str(folder / "config.yml")], port, folder / "log"):
        yield Registry(host=f"127.0.0.1:{port}", ca_file=folder / "ca.pem", log=folder / "log")


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Run moto's S3 with one bucket named 'bucket'; its address."""
    port = free_port()
    with running([sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, folder / "log"):
        address = f"http://127.0.0.1:{port}"
        request = urllib.request.Request(f"{address}/bucket", method="PUT", headers={"Host": "s3.amazonaws.com"})
        with urllib.request.urlopen(request, timeout=START_S):
            yield address


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server until the block ends; enter it when the port answers."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process:
        try:
            until = time.monotonic() + START_S
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                    break
                if process.poll() is not None or time.monotonic() > until:
                    raise AssertionError(f"{command[0]} did not start: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(10)

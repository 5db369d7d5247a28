"""Rules for every test: no network but loopback, and (with --skips-by-name) no skip that tests/allowed-skips.txt does not name."""

import fnmatch
import ipaddress
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("aweigh", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("aweigh")  # a machine that is busy is no failure of what is tested

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # tests import ONNX Runtime themselves; that aweigh says so is tests/e2e/test_telemetry.py
ALLOWED_SKIPS = Path(__file__).parent / "allowed-skips.txt"
SKIPS: dict[str, str] = {}
PROGRAMS = {
    "curl": "curl",
    "docker-registry": "docker-registry",
    "faketime": "faketime",
    "haproxy": "haproxy",
    "kubectl": "none: of Kubernetes 1.27 or later",
    "podman": "podman",
    "h2load": "nghttp2-client",
    "skopeo": "skopeo",
    "strace": "strace",
    "systemd-analyze": "systemd",
    "wrk": "wrk",
}
_may_connect_out = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--skips-by-name", action="store_true", help="fail on any skip that tests/allowed-skips.txt does not name")


def _allowed() -> list[tuple[str, str]]:
    lines = (line.partition("#")[0].strip() for line in ALLOWED_SKIPS.read_text().splitlines())
    return [(glob.strip(), reason.strip()) for glob, _, reason in (line.partition("|") for line in lines if line)]


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        SKIPS[report.nodeid] = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


pytest_runtest_logreport = _note_skip
pytest_collectreport = _note_skip


def _unnamed() -> list[str]:
    rules = _allowed()
    return [
        f"{test}: {reason}"
        for test, reason in SKIPS.items()
        if not any(fnmatch.fnmatch(test, glob) and text in reason for glob, text in rules)
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--skips-by-name") and session.exitstatus == 0 and _unnamed():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--skips-by-name") and (unnamed := _unnamed()):
        terminalreporter.section("skips that tests/allowed-skips.txt does not name: each fails the run", red=True, bold=True)
        for line in unnamed:
            terminalreporter.write_line(line)


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect" or _may_connect_out:
        return
    address = arguments[1]
    host = str(address[0]) if isinstance(address, tuple) else "localhost"
    try:
        outside = not (host in ("localhost", "") or ipaddress.ip_address(host.partition("%")[0]).is_loopback)
    except ValueError:
        outside = True
    if outside:
        raise PermissionError(f"a test tried to connect to {host}: only loopback is allowed, except under the mark 'index'")


sys.addaudithook(_guard)


@pytest.fixture(autouse=True)
def _network(request: pytest.FixtureRequest) -> object:
    global _may_connect_out
    _may_connect_out = request.node.get_closest_marker("index") is not None
    yield
    _may_connect_out = False


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Path of a program that a test drives; skips the test, naming the Debian package, where it is not installed."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"needs {name} (Debian package {PROGRAMS.get(name, name)})")
        return path

    return find

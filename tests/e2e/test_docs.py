"""The pages a person reads are run: every `$ ` line of a ```console block and every ```python block, page by page, in a home of its own.

Before a block may stand `<!-- not run: reason -->`, or `<!-- expect: text -->` for text that its output must hold. A command that ends
in `&` goes on in the background until the page ends. Port 8080 becomes a free one.
"""

import contextlib
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<notes>(?:<!--[^\n]*-->\n+)*)```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
NOTE = re.compile(r"<!-- (not run|expect): (.+?) -->")
START_S = 30.0
SLOW = {"advise.md", "optimize.md", "pipelines.md", "rollouts.md", "runner.md", "versions.md", "workers.md"}


@dataclasses.dataclass(frozen=True)
class Block:
    language: str
    body: str
    line: int
    not_run: str
    expected: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        notes = NOTE.findall(match["notes"])
        found.append(
            Block(
                language=match["language"],
                body=match["body"],
                line=text.count("\n", 0, match.start("language")) + 1,
                not_run=next((reason for kind, reason in notes if kind == "not run"), ""),
                expected=tuple(expected for kind, expected in notes if kind == "expect"),
            )
        )
    return found


def commands(block: Block) -> list[str]:
    """The `$ ` lines, each with the lines that a trailing backslash joins to it."""
    found: list[str] = []
    joined = False
    for line in block.body.splitlines():
        if joined:
            found[-1] += "\n" + line
        elif line.startswith("$ "):
            found.append(line[2:])
        joined = (joined or line.startswith("$ ")) and line.endswith("\\")
    return found


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if not block.not_run and (block.language == "python" or commands(block))]


class Shell:
    """Runs the blocks of one page; what it started in the background it ends."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = str(probe.getsockname()[1])
        self.folder = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            "PATH": path,
            "HOME": str(folder),
            "AWEIGH_HOME": str(folder / "home"),
            "AWEIGH_PORT": self.port,
            "LC_ALL": "C.UTF-8",
        }
        self.background: list[subprocess.Popen[bytes]] = []

    def run(self, block: Block) -> str:
        if block.language == "python":
            return self._wait([sys.executable, "-c", self._text(block.body)])
        return "".join(self._command(self._text(command)) for command in commands(block))

    def _text(self, text: str) -> str:
        return text.replace("8080", self.port)

    def _command(self, command: str) -> str:
        if not command.rstrip().endswith("&"):
            return self._wait(["bash", "-euo", "pipefail", "-c", command])
        log = (self.folder / "background.log").open("ab")
        with log:
            started = subprocess.Popen(
                ["bash", "-c", f"exec {command.rstrip()[:-1]}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.background.append(started)
        self._await_ready(started)
        return ""

    def _await_ready(self, started: subprocess.Popen[bytes]) -> None:
        """As a person does who waits for the server to say that it serves."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and started.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5):
                return
            time.sleep(0.02)
        pytest.fail(f"the server of this page did not come up:\n{(self.folder / 'background.log').read_text()}")

    def _wait(self, words: list[str]) -> str:
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, f"{words[-1]}\nended with {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def close(self) -> None:
        for started in self.background:
            started.send_signal(signal.SIGTERM)
        for started in self.background:
            try:
                started.wait(timeout=20)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait(timeout=5)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    made.close()


def shelved() -> Iterator[Any]:
    """The pages with examples; those that take long are read with `make test-all`."""
    for page in filter(runnable, PAGES):
        marks = [pytest.mark.slow, pytest.mark.timeout(300)] if page.name in SLOW or page.parent.name == "targets" else []
        yield pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=marks)


@pytest.mark.parametrize("page", list(shelved()))
def test_the_examples_of_a_page_run(page: Path, shell: Shell) -> None:
    for block in runnable(page):
        printed = shell.run(block)
        for expected in block.expected:
            assert expected in printed, f"{page.name}:{block.line}: {expected!r} is not in the output:\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: the link {target} leads nowhere"


def test_every_block_has_a_language() -> None:
    bare = [f"{page.name}:{block.line}" for page in PAGES for block in blocks(page) if not block.language]
    assert bare == []

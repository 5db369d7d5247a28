"""The installed command: start-up budgets, and what a shell sees of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

AWEIGH = Path(sys.executable).parent / "aweigh"
HELP_BUDGET_S = 0.15
IMPORT_BUDGET_RATIO = 1.5
SLACK = 5


def run(*words: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home), **environment}
    return subprocess.run([AWEIGH, *words], capture_output=True, text=True, timeout=60, env=env, check=False)


def best_s(command: list[str | Path]) -> float:
    """The shortest of five runs: what it costs when nothing else is in the way."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.budget
def test_help_is_quick() -> None:
    assert best_s([AWEIGH, "--help"]) < HELP_BUDGET_S * SLACK


@pytest.mark.budget
def test_importing_aweigh_costs_next_to_nothing() -> None:
    bare = best_s([sys.executable, "-c", "pass"])
    assert best_s([sys.executable, "-c", "import aweigh"]) < bare * IMPORT_BUDGET_RATIO * SLACK


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import aweigh", {"numpy", "msgspec", "click", "rich", "onnxruntime", "asyncio", "logging"}),
        ("import aweigh.cli.main", {"numpy", "msgspec", "rich", "onnxruntime", "asyncio", "logging"}),
    ],
)
def test_what_starts_quickly_imports_nothing_heavy(code: str, heavy: set[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], capture_output=True, text=True, check=True, timeout=60
    )
    assert heavy & set(shown.stdout.split()) == set()


def test_data_goes_to_stdout_and_errors_to_stderr(tmp_path: Path) -> None:
    listed = run("models", "--json", home=tmp_path)
    assert (listed.returncode, json.loads(listed.stdout), listed.stderr) == (0, {"models": []}, "")
    missing = run("show", "nothing", home=tmp_path)
    assert (missing.returncode, missing.stdout) == (3, "")
    assert missing.stderr.startswith("error: there is no model 'nothing'\nhint: ")


def test_a_wrong_environment_variable_names_the_nearest(tmp_path: Path) -> None:
    done = run("config", home=tmp_path, AWEIGH_PROT="1")
    assert (done.returncode, done.stderr.splitlines()[1]) == (2, "hint: did you mean 'port'?")


def test_the_settings_file_of_the_home_is_read(tmp_path: Path) -> None:
    (tmp_path / "aweigh.toml").write_text("port = 9000\n")
    rows = {row["name"]: row for row in json.loads(run("config", "--json", home=tmp_path).stdout)["settings"]}
    assert (rows["port"]["value"], rows["port"]["origin"]) == (9000, str(tmp_path / "aweigh.toml"))


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [AWEIGH, "config"], stdout=writer, stderr=subprocess.PIPE, env={"AWEIGH_HOME": str(tmp_path)}, timeout=60, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_is_quiet(tmp_path: Path) -> None:
    code = "import os, signal, sys, time; from aweigh.cli.failures import run; "
    code += "sys.exit(run(lambda: os.kill(os.getpid(), signal.SIGINT) or time.sleep(30), []))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, b"", b"")


@pytest.mark.parametrize("words", [("config",), ("doctor", "--port", "0"), ("--help",)])
def test_no_colour_reaches_a_pipe(words: tuple[str, ...], tmp_path: Path) -> None:
    assert "\x1b" not in run(*words, home=tmp_path, FORCE_COLOR="").stdout


def test_no_color_is_respected_on_a_terminal(tmp_path: Path) -> None:
    script = shutil.which("script")
    if script is None:
        pytest.skip("needs script (Debian package bsdutils)")
    env = {"AWEIGH_HOME": str(tmp_path), "PATH": os.environ["PATH"], "TERM": "xterm-256color"}
    shown = {}
    for no_color in ("", "1"):
        done = subprocess.run(
            [script, "-qec", f"'{AWEIGH}' doctor --port 0", "/dev/null"],
            stdin=subprocess.DEVNULL, capture_output=True, env={**env, "NO_COLOR": no_color}, timeout=60, check=False,
        )  # fmt: skip
        shown[no_color] = b"\x1b[32m" in done.stdout
    assert shown == {"": True, "1": False}

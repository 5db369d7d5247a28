"""Environments are made whole or not at all, once, from a list of digests; what is there is used without asking anybody."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aweigh.core.errors import MissingLibrary
from aweigh.isolate import environments, installers
from aweigh.isolate.environments import Environments
from aweigh.isolate.oneshot import call


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment `plain` of nothing at all, and one `broken` of what no index has."""
    folder = tmp_path / "locks"
    folder.mkdir()
    (folder / "plain.txt").write_text("# nothing\n")
    (folder / "broken.txt").write_text("no-such-package-anywhere==1 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setattr(environments, "LOCKS", folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    return folder


@pytest.mark.parametrize("installer", ["uv", "venv"])
def test_made_once_then_used_and_pruned(installer: str, locks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if installer == "venv":
        monkeypatch.setattr(installers, "uv", lambda: None)
    kept = Environments(tmp_path / "kept")
    assert not kept.has("plain")
    said: list[str] = []
    python = kept.python("plain", progress=lambda step, done=0, total=0: said.append(step))
    assert said == ["making an environment for plain, once"]
    assert subprocess.run(
        [python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True
    ).stdout.strip() == str(python.parents[1])
    monkeypatch.setattr(environments, "install", None)
    assert kept.python("plain") == python
    assert [(each.name, each.current) for each in kept.kept()] == [("plain", True)]
    assert kept.prune().removed == []
    (locks / "plain.txt").write_text("# nothing, said otherwise\n")
    assert kept.python("plain") == python  # what is said about a list is not what is in it
    (locks / "plain.txt").write_text("\nanother==1\n")
    assert [each.current for each in kept.kept()] == [False]
    assert [each.name for each in kept.prune().removed] == ["plain"]
    assert not python.exists()


def test_what_cannot_be_made_leaves_nothing_and_says_why(locks: Path, tmp_path: Path) -> None:
    kept = Environments(tmp_path / "kept")
    with pytest.raises(MissingLibrary, match=r"'broken' cannot be made: [^~]*no-such-package-anywhere") as caught:
        kept.python("broken")
    assert "package index" in caught.value.hint
    assert [each.name for each in (tmp_path / "kept").iterdir()] == [".broken.lock"]
    with pytest.raises(MissingLibrary, match="no environment named 'other'"):
        kept.python("other")
    with pytest.raises(MissingLibrary, match="no environment may be made") as caught:
        Environments(tmp_path / "kept", allowed=False).python("plain")
    assert "'aweigh env make plain'" in caught.value.hint


def test_several_at_once_make_one(locks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = environments.install
    monkeypatch.setattr(environments, "install", lambda *words: (made.append(words), real(*words)))
    kept = Environments(tmp_path / "kept")
    threads = [threading.Thread(target=kept.python, args=("plain",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


HOLDING = """
import sys
from pathlib import Path
from aweigh.isolate import environments
environments.LOCKS = Path(sys.argv[1])
{}
"""


@pytest.fixture
def other(locks: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts another process that runs some lines with the same lists, and says when it is done with them; it then waits to be killed."""
    started: list[subprocess.Popen[str]] = []

    def start(lines: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDING.format(lines) + "print('done', flush=True)\nsys.stdin.read()", str(locks)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_somebody_uses_is_not_removed(other: Callable[[str], subprocess.Popen[str]], tmp_path: Path) -> None:
    kept = Environments(tmp_path / "kept")
    python = kept.python("plain")
    assert [each.in_use for each in kept.kept()] == [False]
    using = other(f"environments.Environments(Path({str(tmp_path / 'kept')!r}), allowed=False).home('plain')")
    assert [each.in_use for each in kept.kept()] == [True]
    pruned = kept.prune(everything=True)
    assert ([each.name for each in pruned.removed], [each.name for each in pruned.left]) == ([], ["plain"])
    assert python.exists()
    using.kill()
    using.wait()
    assert [each.name for each in kept.prune(everything=True).removed] == ["plain"]
    assert not python.exists()
    assert kept.home("plain").python == str(python)  # and is made again
    assert python.exists()


def test_a_maker_that_is_killed_leaves_nothing_that_is_taken_for_an_environment(
    other: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    killed = other(
        "def half(name, listed, place):\n"
        "    (place / 'bin').mkdir(); (place / 'bin' / 'python').touch(); (place / 'pyvenv.cfg').touch()\n"
        "    print('done', flush=True); sys.stdin.read()\n"
        "environments.install = half\n"
        f"environments.Environments(Path({str(folder)!r})).python('plain')"
    )
    killed.kill()
    killed.wait()
    (half,) = folder.glob(".making-plain-*")
    kept = Environments(folder)
    assert not kept.has("plain")
    assert kept.kept() == []
    python = kept.python("plain")
    assert subprocess.run([python, "-c", "import json"], check=False).returncode == 0
    assert not half.exists()
    python.unlink()  # as when the Python it stands on was removed
    python.symlink_to("/nowhere/python")
    assert subprocess.run([kept.python("plain"), "-c", "import json"], check=False).returncode == 0


def test_a_child_there_sees_aweigh_and_nothing_else_of_the_callers(locks: Path, tmp_path: Path) -> None:
    kept = Environments(tmp_path / "kept")
    home = kept.home("plain")
    done = subprocess.run(
        [home.python, "-P", "-c", "import aweigh, sys; print(aweigh.__file__); import msgspec"],
        env={**os.environ, "PYTHONPATH": home.code}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith(home.code)
    assert "No module named 'msgspec'" in done.stderr
    assert home.python != sys.executable
    assert home.code == str(kept.code())


def test_a_call_in_another_environment(tmp_path: Path) -> None:
    """The interpreter is the caller's own here; that a child gets along with another one's libraries, `tests/e2e/frameworks` shows."""
    home = Environments(tmp_path).code()
    from aweigh.isolate.process import Home

    assert call("aweigh.core.names:suggest_name", "My Model", str, home=Home(sys.executable, str(home))) == "my-model"

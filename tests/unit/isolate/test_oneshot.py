"""Calls in a child: results and errors cross as data, and nothing that a child does reaches the parent."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from aweigh.core.errors import AweighError, ChildDied, DeadlineExceeded, InternalError, InvalidFile, InvalidInput, MissingLibrary, TooLarge
from aweigh.isolate import Caps, call, call_reporting

MIB = 1024 * 1024
Paths = tuple[str, ...]


class Answer(msgspec.Struct):
    text: str
    file: Path


def test_structs_and_paths_cross_both_ways(paths: Paths) -> None:
    answer = call("hostile:echo", {"text": "ab", "file": Path("/x/y"), "times": 2}, Answer, paths=paths)
    assert answer == Answer(text="abab", file=Path("/x/y"))


def test_texts_that_are_not_utf8_cross_escaped(paths: Paths) -> None:
    seen: list[str] = []
    with pytest.raises(InvalidFile) as caught:
        call("hostile:named_after_a_file", None, type(None), paths=paths, progress=lambda step, done=0, total=0: seen.append(step))
    assert (caught.value.message, caught.value.hint) == ("odd\\udcff.bin is bad", "\\ud800")
    assert caught.value.context == {"place": "odd\\udcff.bin"}
    assert seen == ["reading odd\\udcff.bin"]


@pytest.mark.parametrize(("argument", "more"), [({"file": Path("m\udcff.onnx")}, ()), (None, ("odd\udcff",))], ids=["argument", "path"])
def test_what_is_not_utf8_is_refused_by_name_before_a_child_is_launched(
    paths: Paths, argument: object, more: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aweigh.isolate.process._launch", lambda start: pytest.fail("launched"))
    with pytest.raises(InvalidInput, match=r"\\udcff.* is not UTF-8"):
        call("hostile:echo", argument, Answer, paths=(*paths, *more))


def test_progress_flows_back(paths: Paths) -> None:
    seen: list[tuple[str, int, int]] = []
    assert call("hostile:counted", 3, int, paths=paths, progress=lambda step, done=0, total=0: seen.append((step, done, total))) == 3
    assert seen == [("count", 1, 3), ("count", 2, 3), ("count", 3, 3)]


def test_child_is_small_quiet_and_keeps_who_it_is(paths: Paths) -> None:
    facts = call("hostile:facts", None, dict[str, object], paths=paths, caps=Caps(threads=3))
    assert facts["threads"] == "3"
    assert facts["telemetry"] == "1"
    assert facts["numpy"] is False
    assert facts["uid"] == os.getuid()
    assert facts["home"] == str(Path.home())
    assert int(str(facts["fds"])) <= 6


def test_output_of_the_target_does_not_touch_the_channel(paths: Paths) -> None:
    assert call("hostile:talk", None, int, paths=paths) == 1


def test_what_a_child_writes_does_not_fill_the_disk(paths: Paths) -> None:
    """While it runs: nobody but the child knows when it will be done. Its last words stay."""
    sizes = call("hostile:write_much", 2, list[int], paths=paths, caps=Caps(timeout_s=60))
    assert len(sizes) == 2
    assert max(sizes) < 64 * 1024
    with pytest.raises(ChildDied, match="exceeded 512 MiB"):
        call("hostile:misbehave", "much noise", int, paths=paths, caps=Caps(timeout_s=60, memory_bytes=512 * MIB))


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
def test_network_is_gone_unless_granted(paths: Paths) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = list(server.getsockname())
        open_report = call_reporting("hostile:reach", address, str, paths=paths, caps=Caps(network=True))
        assert (open_report.result, open_report.network_off) == ("connected", False)
        if not call_reporting("hostile:talk", None, int, paths=paths).network_off:
            pytest.skip("this system gives no network namespaces")
        with pytest.raises(InternalError, match=r"OSError|ConnectionRefused|unreachable"):
            call("hostile:reach", address, str, paths=paths)


@pytest.mark.skipif(sys.platform != "linux", reason="system calls are filtered on Linux")
@pytest.mark.parametrize(
    ("way", "refusal", "started"), [("filter_sockets", "PermissionError", "kept out"), ("hook", "PermissionError", "connected")]
)
def test_ways_out_of_the_network_where_there_are_no_namespaces(way: str, refusal: str, started: str, paths: Paths, tmp_path: Path) -> None:
    """A filter holds for whatever the child starts, a hook for its own Python code alone."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "socket"))
        local.listen()
        ways = [way, str(tmp_path / "socket"), str(server.getsockname()[1])]
        found = call("hostile:shut_in", ways, dict[str, str], paths=paths, caps=Caps(network=True))
    assert found == {"inet": refusal, "inet6": refusal, "unix": "connected", "started": started}


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("memory", ChildDied, "exceeded 256 MiB"),
        ("native-memory", ChildDied, "exceeded 256 MiB"),
        ("grow", ChildDied, "exceeded 256 MiB"),
        ("segfault", ChildDied, "SIGSEGV"),
        ("kill", ChildDied, "SIGKILL"),
        ("exit", ChildDied, "exit code 0 and no answer"),
        ("orphan", ChildDied, "exit code 1 and no answer"),
        ("sys.exit", InternalError, "SystemExit: 3"),
        ("base", InternalError, "KeyboardInterrupt"),
        ("value", InternalError, "ValueError: this is not good"),
        ("recursion", InternalError, "RecursionError"),
        ("unsendable", InternalError, "object does not cross"),
        ("typed", InvalidFile, "file x is bad"),
        ("wrong-type", InternalError, "answered what was not expected"),
        ("huge-length", TooLarge, "4611686018427387904 bytes"),
        ("nonsense", InternalError, "answered what was not expected"),
    ],
)
def test_whatever_a_child_does_becomes_a_typed_error(how: str, kind: type[AweighError], text: str, paths: Paths) -> None:
    with pytest.raises(kind, match=text) as caught:
        call("hostile:misbehave", how, int, paths=paths, caps=Caps(memory_bytes=256 * MIB, timeout_s=20))
    assert type(caught.value) is kind
    if how == "typed":
        assert caught.value.hint == "use another"
        assert caught.value.context == {"place": "x:3"}
    if how == "value":
        assert "misbehave" in str(caught.value.context["traceback"])
    if kind is ChildDied:
        assert caught.value.hint


def test_endless_loop_is_killed_at_the_timeout(paths: Paths) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"longer than 0\.7 s"):
        call("hostile:misbehave", "loop", int, paths=paths, caps=Caps(timeout_s=0.7))
    assert time.monotonic() - started < 5


def test_child_that_closes_its_channel_is_ended(paths: Paths) -> None:
    with pytest.raises(ChildDied, match="closed its channel"):
        call("hostile:misbehave", "close", int, paths=paths)


@pytest.mark.parametrize("target", ["hostile", "hostile:absent", "hostile:Path.absent"])
def test_unknown_target_is_named(target: str, paths: Paths) -> None:
    with pytest.raises(InvalidInput, match=target):
        call(target, None, int, paths=paths)


def test_caller_folder_is_not_importable_without_paths() -> None:
    with pytest.raises(MissingLibrary, match="Python module 'hostile'"):
        call("hostile:talk", None, int)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_left_behind(paths: Paths) -> None:
    call("hostile:talk", None, int, paths=paths)  # the launcher thread starts with the first call

    def left() -> tuple[int, int, int]:
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(children)

    before = left()
    for how in ("value", "segfault", "exit", "orphan"):
        with pytest.raises(AweighError):
            call("hostile:misbehave", how, int, paths=paths)
    call("hostile:talk", None, int, paths=paths)
    assert left() == before


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_child_dies_with_its_parent(paths: Paths, tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "from aweigh.isolate.process import ChildProcess\n"
        "from aweigh.isolate import Caps\n"
        "def start():\n"
        f"    child = ChildProcess('hostile:misbehave', 'loop', Caps(), {list(paths)!r})\n"
        "    child.channel.send(child.start); child.channel.receive()\n"
        "    print(child.pid, flush=True); kept.append(child)\n"
        "kept = []\n"
        "thread = threading.Thread(target=start); thread.start(); thread.join()\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)  # alive although the thread that asked for it has ended
        parent.kill()
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    pytest.fail("the child outlived its parent")

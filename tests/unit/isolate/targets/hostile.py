"""Functions that misbehave in a child, and a few that do not."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from aweigh.core.errors import InvalidFile
from aweigh.isolate import network


class Question(msgspec.Struct):
    text: str
    file: Path
    times: int = 1


class Answer(msgspec.Struct):
    text: str
    file: Path


def echo(question: Question) -> Answer:
    return Answer(text=question.text * question.times, file=question.file)


def counted(total: int, progress: Any) -> int:
    for done in range(total):
        progress("count", done + 1, total)
    return total


def facts(argument: Any) -> dict[str, Any]:
    return {
        "threads": os.environ["OMP_NUM_THREADS"],
        "telemetry": os.environ["ORT_DISABLE_TELEMETRY"],
        "numpy": "numpy" in sys.modules,
        "uid": os.getuid(),
        "home": str(Path.home()),
        "fds": len(list(Path("/proc/self/fd").iterdir())),
    }


def reach(address: list[Any]) -> str:
    with socket.create_connection((address[0], address[1]), timeout=2):
        return "connected"


def shut_in(ways: list[str]) -> dict[str, str]:
    """What becomes of sockets of every sort after the network was left by one way."""
    getattr(network, ways[0])() if ways[0] != "hook" else sys.addaudithook(network._refuse)
    found = {}
    for name, family in (("inet", socket.AF_INET), ("inet6", socket.AF_INET6), ("unix", socket.AF_UNIX)):
        try:
            with socket.socket(family) as made:
                made.connect(ways[1] if name == "unix" else ("::1" if name == "inet6" else "127.0.0.1", int(ways[2])))
            found[name] = "connected"
        except OSError as error:
            found[name] = type(error).__name__
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {ways[2]}), 2)"],
            capture_output=True,
            check=False,
        )
        found["started"] = "connected" if done.returncode == 0 else "kept out"
    except PermissionError:
        found["started"] = "kept out"
    return found


def talk(argument: Any) -> int:
    os.write(1, b"\x00" * 100_000)
    os.write(2, b"\xff" * 100_000)
    print("x" * 100_000)
    return 1


def write_much(rounds: int) -> list[int]:
    """Write 8 MiB a round, wait until somebody takes them away, and say how much is there after one more byte."""
    sizes = []
    for _ in range(rounds):
        for _ in range(8):
            os.write(2, b"x" * 1024 * 1024)
        os.write(1, b"\nthe last words: bad_alloc\n")
        until = time.monotonic() + 20
        while os.fstat(2).st_size > 1024 * 1024 and time.monotonic() < until:
            time.sleep(0.01)
        os.write(1, b"y")
        sizes.append(os.fstat(2).st_size)
    return sizes


class Speechless(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text either")


def named_after_a_file(argument: Any, progress: Any) -> None:
    progress("reading odd\udcff.bin")
    raise InvalidFile("odd\udcff.bin is bad", hint="\ud800", place=Path("odd\udcff.bin"))


def misbehave(how: str) -> object:  # noqa: C901  # one case a way to misbehave
    match how:
        case "memory":
            return len(bytearray(1 << 40))
        case "native-memory":
            sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
            sys.stderr.flush()
            os.abort()
        case "grow":
            kept = []
            while True:
                kept.append(b"x" * 10_000_000)
        case "loop":
            while True:
                pass
        case "segfault":
            return ctypes.string_at(0)
        case "exit":
            os._exit(0)
        case "surrogate":
            raise ValueError("no such file: odd\udcff.bin")
        case "typed surrogate":
            raise InvalidFile("odd\udcff.bin is bad", hint="look at \ud800", place=Path("odd\udcff.bin"))
        case "speechless":
            raise Speechless
        case "speechless context":
            raise InvalidFile("bad", thing=Speechless())
        case "sys.exit":
            sys.exit(3)
        case "much noise":
            write_much(1)
            os._exit(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "base":
            raise KeyboardInterrupt
        case "value":
            raise ValueError("this is not good")
        case "typed":
            raise InvalidFile("file x is bad", hint="use another", place="x:3")
        case "recursion":

            def deeper() -> int:
                return deeper() + 1

            return deeper()
        case "orphan":
            if os.fork() == 0:
                time.sleep(600)
            os._exit(1)
        case "unsendable":
            return object()
        case "close":
            os.closerange(3, 64)
            time.sleep(600)
        case "wrong-type":
            return {"not": "an int"}
        case "huge-length":
            for fd in range(3, 64):
                try:
                    socket.socket(fileno=fd).sendall((1 << 62).to_bytes(8, "little"))
                except OSError:
                    continue
            time.sleep(600)
        case "nonsense":
            for fd in range(3, 64):
                try:
                    socket.socket(fileno=fd).sendall((3).to_bytes(8, "little") + b"\xc1\xc1\xc1")
                except OSError:
                    continue
            time.sleep(600)
    return None


def open_session(factor: float) -> Any:
    if factor == 0:
        raise InvalidFile("factor 0 cannot be opened")

    def handle(header: dict[str, Any], tensors: Any) -> Any:
        if "do" in header:
            misbehave(header["do"])
        if "write" in header:
            return {"sizes": write_much(header["write"])}, {}
        if header.get("multiply"):
            return {"pid": os.getpid()}, {name: tensor * factor for name, tensor in tensors.items()}
        return header, dict(tensors)

    return handle

"""Starts, watches and ends one isolated child. Used by `call` and `Worker`; must leave no zombie and no open file behind.

Children are started by one launcher thread, because Linux sends the parent-death signal when the starting *thread* ends. It also keeps what they write to
stdout and stderr bounded, whatever their callers wait for.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import IO, Final

import msgspec

from aweigh.core.errors import AweighError, ChildDied, DeadlineExceeded, Unsupported
from aweigh.isolate.channel import Caps, Channel, Start, encode

_PROGRAM: Final = str(Path(__file__).with_name("child.py"))
_STDERR_TAIL_BYTES: Final = 4000
_STDERR_KEPT_BYTES: Final = 1024 * 1024
_TRIM_S: Final = 0.25
"""How often a child's noise is looked at: a quick disk takes a gigabyte in a second."""
_GRACE_S: Final = 2.0
_POLL_S: Final = 0.002
_MIB: Final = 1024 * 1024
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_MEMORY_WORDS: Final = ("bad_alloc", "MemoryError", "Cannot allocate memory", "out of memory", "Unable to allocate")


class Home(msgspec.Struct, frozen=True):
    """Where a child runs: an interpreter, and the folder it finds aweigh in, where that is not the interpreter's own. `environments` is the folder of those that the
    child may use in turn."""

    python: str
    code: str = ""
    environments: str = ""


HERE: Final = Home(sys.executable)


def caller_paths(*, elsewhere: bool = False) -> list[str]:
    """Where a child looks for modules beside its interpreter's own places: where this process does. `elsewhere`, in another environment, libraries of this one are none
    of its business."""
    return [place for place in sys.path if place and not (elsewhere and _is_library(place))]


def _is_library(place: str) -> bool:
    within = ("site-packages", "dist-packages")
    return (
        place.startswith((sys.prefix, sys.base_prefix))
        or any(part in within for part in Path(place).parts)
        or (Path(place) / "aweigh").is_dir()
    )


class ChildProcess:
    """One running child and the channel to it. `channel` raises as `Channel` says; `why` then tells what became of the child."""

    def __init__(
        self, target: str, argument: object, caps: Caps, paths: Sequence[str] = (), *, subject: str = "", home: Home = HERE
    ) -> None:
        """Raises InvalidInput for an argument or path that is not UTF-8, Unsupported on Windows."""
        if sys.platform == "win32":
            raise Unsupported("isolated children need a POSIX system", hint="use WSL 2 or Linux")
        self.target = target
        self.subject = subject or f"'{target}'"
        """Whose process it is, in messages."""
        self.caps = caps
        self.start = encode(Start(target=target, argument=encode(argument), caps=caps, parent=os.getpid(), paths=tuple(paths)))
        """What the child is told first; made before it is launched, so that what has no form launches none."""
        self._closed = False
        self._noise: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed in close()
        self._noise_lock = threading.Lock()
        fcntl.fcntl(
            self._noise, fcntl.F_SETFL, fcntl.fcntl(self._noise, fcntl.F_GETFL) | os.O_APPEND
        )  # else the child goes on where it was
        with _jobs_lock:
            _living.add(self)  # before it starts, so that the launcher knows of it when it has
        ours, theirs = socket.socketpair()
        try:
            self._process = _launch(lambda: _popen(theirs, self._noise, caps, home))
        except BaseException:
            ours.close()
            with self._noise_lock:
                self._noise.close()
            raise
        finally:
            theirs.close()
        self.pidfd = _pidfd(self._process.pid)
        """Readable once the child has ended; None where the system has no such thing."""
        self.channel = Channel(ours, self.pidfd)

    @property
    def pid(self) -> int:
        return self._process.pid

    def why(self, error: BaseException, *, limit_s: float) -> AweighError:
        """Kill what is left of the child and say what became of it, given the `error` that the channel raised."""
        if isinstance(error, TimeoutError):
            self.close()
            return DeadlineExceeded(
                f"{self.subject} took longer than {limit_s:g} s in its own process and was killed",
                hint="raise child_timeout_s, or make the input smaller",
                target=self.target,
            )
        died = self._dies_by_itself()
        noise = self._end()
        return _death(self.subject, self._process.returncode if died else None, noise, self.caps)

    def out_of_memory(self) -> AweighError:
        """The error for a child that reported MemoryError."""
        return _too_much_memory(self.subject, self.caps)

    def trim_noise(self) -> None:
        """Cut what the child has written to its last words, where it is much. Any thread may ask; the launcher's does, again and again."""
        with self._noise_lock:
            if not self._noise.closed and os.fstat(self._noise.fileno()).st_size > _STDERR_KEPT_BYTES:
                last = self._last_words()
                os.truncate(self._noise.fileno(), 0)
                os.write(self._noise.fileno(), last)

    def _last_words(self) -> bytes:
        size = os.fstat(self._noise.fileno()).st_size
        return os.pread(self._noise.fileno(), _STDERR_TAIL_BYTES, max(0, size - _STDERR_TAIL_BYTES))

    def forget_lock(self) -> None:
        """In a process that was forked, whose launcher may have held the lock."""
        self._noise_lock = threading.Lock()

    @property
    def dead(self) -> bool:
        """Whether the child has ended, reaped or not."""
        return self._process.returncode is not None or self._ended()

    def kill(self) -> None:
        """Kill the child and all that it started, now; whoever waits on the channel sees it end."""
        if self._process.returncode is None:  # not reaped, so the number is still its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the child and everything that it started, reap it, close every file. May be called twice."""
        self._end()

    def _dies_by_itself(self) -> bool:
        """Whether the child, whose channel is closed, ends without being killed; not reaped, so that its group can still be killed by number."""
        until = monotonic() + _GRACE_S
        while monotonic() < until:
            if self._ended():
                return True
            sleep(_POLL_S)
        return False

    def _ended(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _end(self) -> str:
        if self._closed:
            return ""
        self._closed = True
        with _jobs_lock:
            _living.discard(self)
        self.channel.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        with self._noise_lock, self._noise:
            return self._last_words().decode(errors="replace")


def _pidfd(pid: int) -> int | None:
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # before Linux 5.3, or forbidden by a container: the channel's end is the only sign then
        return None


def _popen(theirs: socket.socket, noise: IO[bytes], caps: Caps, home: Home) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    environment |= dict.fromkeys(_THREAD_VARIABLES, str(caps.threads))
    if home.code:
        environment["PYTHONPATH"] = home.code
    return subprocess.Popen(
        [home.python, "-P", _PROGRAM, str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=noise,
        stderr=noise,
        env=environment,
        start_new_session=True,
    )


def _death(subject: str, code: int | None, noise: str, caps: Caps) -> ChildDied:
    if caps.memory_bytes and any(word in noise for word in _MEMORY_WORDS):
        return _too_much_memory(subject, caps, stderr=noise)
    if code is None:
        what, hint = "closed its channel without an answer and was killed", "code in the model closed files that are not its own"
    elif code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        what = f"was killed by {name}"
        hint = "the machine may be out of memory" if -code == signal.SIGKILL else "the native code of a library crashed on this input"
    else:
        what = f"ended with exit code {code} and no answer"
        hint = "code in the model ended the process"
    return ChildDied(f"the process of {subject} {what}", hint=hint, stderr=noise)


def _too_much_memory(subject: str, caps: Caps, **context: object) -> ChildDied:
    return ChildDied(
        f"{subject} exceeded {caps.memory_bytes // _MIB} MiB of memory in its own process",
        hint="raise child_memory_bytes, or make the input smaller",
        **context,
    )


_Job = tuple["Future[subprocess.Popen[bytes]]", Callable[[], "subprocess.Popen[bytes]"]]
_jobs: "SimpleQueue[_Job] | None" = None  # made at first use; one launcher thread a process
_jobs_lock = threading.Lock()
_living: "weakref.WeakSet[ChildProcess]" = weakref.WeakSet()


def _launch(start: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    global _jobs
    with _jobs_lock:
        if _jobs is None:
            _jobs = SimpleQueue()
            threading.Thread(target=_launcher, args=(_jobs,), name="aweigh-launcher", daemon=True).start()
        jobs = _jobs
    future: Future[subprocess.Popen[bytes]] = Future()
    jobs.put((future, start))
    return future.result()


def _launcher(jobs: "SimpleQueue[_Job]") -> None:
    while True:
        with contextlib.suppress(Empty):
            _start_one(*jobs.get(timeout=_TRIM_S if len(_living) else None))
        _trim_all()


def _trim_all() -> None:
    with _jobs_lock:
        living = list(_living)
    for child in living:
        with contextlib.suppress(OSError):  # a full disk: the next time
            child.trim_noise()


def _start_one(future: "Future[subprocess.Popen[bytes]]", start: Callable[[], "subprocess.Popen[bytes]"]) -> None:
    try:
        future.set_result(start())
    except BaseException as error:  # noqa: BLE001  # boundary: the caller of _launch raises it
        future.set_exception(error)


def _forget_launcher() -> None:
    """A forked process has no launcher thread: it makes its own, for children of its own."""
    global _jobs, _jobs_lock, _living
    _jobs, _jobs_lock = None, threading.Lock()
    for child in list(_living):
        child.forget_lock()
    _living = weakref.WeakSet()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_launcher)

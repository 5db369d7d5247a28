"""A real server under attack: raw connections that may say anything, and what an attack costs it in time, memory and attention.

Limits of `threats-and-faults`: a refusal in under a second, and less than twice the body limit of memory, while others are answered.
"""

import contextlib
import dataclasses
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.serving.kit import INFER, PREFACE, Answer, answers, get, grpc_frame, infer_message, post
from tests.serving.raw_http2 import FIELDS, block, raw_frame
from tests.serving.served import Served

MIB = 1024 * 1024
MAX_BODY = 8 * MIB
"""The body limit of the servers under attack: small, so that what it bounds is seen to be bounded."""
REFUSAL_S = 1.0
"""Time to a refusal, and the longest that somebody else may wait for an answer meanwhile."""
BUSY = 4
"""How much slower than that the machine may be that runs the tests: it has other things to do, and the attacker works on it too."""
KEPT = 8
"""Times the body limit that may stay with the allocator after all attacks."""
ALLOCATOR = 2 * MIB
"""What the allocator keeps to itself, and the interpreter loads at first use."""
PATH = "/v2/models/linear/infer"
CALL = grpc_frame(infer_message(name="linear").SerializeToString())


def memory(server: Served, field: str = "VmRSS") -> int:
    """Bytes that the process holds (VmRSS), or has held at most since `forget_peak` (VmHWM)."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def forget_peak(server: Served) -> None:
    """Let VmHWM start anew (proc(5), clear_refs)."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


@dataclasses.dataclass
class Cost:
    """What an attack cost. `grown_bytes` is how much more than before the server held at most."""

    seconds: float = 0.0
    grown_bytes: int = 0
    deaf_s: float = 0.0
    """The longest that somebody else waited for an answer."""

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, {self.grown_bytes / MIB:.1f} MiB, others waited {self.deaf_s:.2f} s"


class Siege:
    """One server, and what it held before anybody attacked it."""

    def __init__(self, server: Served, max_body: int = MAX_BODY) -> None:
        self.server = server
        self.max_body = max_body
        for _ in range(50):
            self.check_answers()
        self.base_bytes = memory(server)
        self.costs: dict[str, Cost] = {}

    @contextlib.contextmanager
    def attack(self, name: str = "", *, factor: float = 1) -> Iterator[Cost]:
        """What happens inside must cost little, and leave a server that answers. `factor` is how many refusals it takes the time of."""
        cost, stop, waits = Cost(), threading.Event(), [0.0]
        asking = threading.Thread(target=_ask_health, args=(self.server, stop, waits))
        forget_peak(self.server)
        before = memory(self.server)
        asking.start()
        started = time.monotonic()
        try:
            yield cost
        finally:
            cost.seconds = time.monotonic() - started
            stop.set()
            asking.join(60)
            cost.deaf_s, cost.grown_bytes = max(waits), memory(self.server, "VmHWM") - before
            self.costs[name] = cost
        assert self.server.process.poll() is None, self.server.log
        self.check_answers()
        assert cost.seconds < REFUSAL_S * BUSY * factor, cost
        assert cost.deaf_s < REFUSAL_S * BUSY, cost
        assert cost.grown_bytes < 2 * self.max_body + ALLOCATOR, cost

    def check_nothing_is_kept(self) -> None:
        """What all attacks together left behind is bounded: by what the allocator keeps for each thread that inflated something."""
        kept = memory(self.server) - self.base_bytes
        assert kept < KEPT * self.max_body + ALLOCATOR, f"{kept / MIB:.0f} MiB kept after {len(self.costs)} attacks"

    def check_answers(self) -> None:
        """A right answer on a new connection of each protocol."""
        with Line(self.server) as line:
            line.send(post(PATH))
            check_right(line.receive())
        with Frames(self.server) as frames:
            frames.call(1)
            assert frames.status(1) == 0


def check_right(answer: Answer) -> None:
    """An inference that was answered as it must be: 1, 2, 3, 4 through the model's weights."""
    assert answer.status == 200, answer
    assert b'"data":[9.0,15.0,6.0]' in answer.body, answer


def _ask_health(server: Served, stop: threading.Event, waits: list[float]) -> None:
    """Ask for health on one connection, over and over, as an orchestrator does; how long each answer took."""
    with Line(server) as line:
        while not stop.is_set():
            started = time.monotonic()
            line.send(get("/v2/health/live"))
            assert line.receive(timeout_s=60).status == 200
            waits.append(time.monotonic() - started)
            stop.wait(0.005)


class _Socket:
    """Sends and reads at once, so that neither side waits for the other for ever."""

    def __init__(self, server: Served) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.got = bytearray()
        self.closed = False
        """Whether the server has ended the connection."""

    def __enter__(self):  # type: ignore[no-untyped-def]
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        """Send it all, unless the server ends the connection first."""
        for piece in pieces:
            data = memoryview(piece)
            while data and not self.closed:
                readable, writable, _ = select.select([self.socket], [self.socket], [], 30)
                if readable:
                    self._read()
                elif writable:
                    with contextlib.suppress(ConnectionError):
                        data = data[self.socket.send(data[: 256 * 1024]) :]
                        continue
                    self._read()
                else:
                    raise TimeoutError("the server neither reads nor answers")

    def _read(self) -> None:
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self.got += data
        self.closed = self.closed or not data

    def read_until(self, enough: Callable[[], bool], timeout_s: float = 20) -> None:
        """Read until there is enough, or the connection has ended."""
        until = time.monotonic() + timeout_s
        while not enough() and not self.closed:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise TimeoutError(f"no answer but {bytes(self.got[:200])!r}")
            self._read()

    def rest(self, timeout_s: float = 20) -> bytes:
        """Everything until the end of the connection."""
        self.read_until(lambda: False, timeout_s)
        return bytes(self.got)


class Line(_Socket):
    """One HTTP/1.1 connection."""

    def receive(self, timeout_s: float = 20) -> Answer:
        """The next answer."""
        end = 0

        def whole() -> bool:
            nonlocal end
            head, blank, rest = bytes(self.got).partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0) if blank else 0
            end = len(head) + 4 + length
            return bool(blank) and len(rest) >= length

        self.read_until(whole, timeout_s)
        assert whole(), f"the connection ended with {bytes(self.got)!r}"
        raw = bytes(self.got[:end])
        del self.got[:end]
        return answers(raw)[0]


class Frames(_Socket):
    """One HTTP/2 connection, frame by frame."""

    def __init__(self, server: Served, *first: bytes) -> None:
        super().__init__(server)
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.send(PREFACE + raw_frame(4, 0, 0) + b"".join(first))

    def open(self, stream: int, *more: tuple[str, str], path: str = INFER, end: bool = False) -> None:
        """The head of a request."""
        fields = [(name, path if name == ":path" else value) for name, value in FIELDS]
        self.send(raw_frame(1, 5 if end else 4, stream, block(*more, fields=fields)))

    def data(self, stream: int, *payloads: bytes, end: bool = False, piece: int = 16_384) -> None:
        """A body, in frames of `piece` bytes, as far as the server's windows let it through."""
        for at, payload in enumerate(payloads):
            pieces = [payload[begin : begin + piece] for begin in range(0, len(payload), piece)] or [b""]
            made = [raw_frame(0, int(end and at == len(payloads) - 1 and piece is pieces[-1]), stream, piece) for piece in pieces]
            self.send(b"".join(made))

    def call(self, stream: int, payload: bytes = CALL, *more: tuple[str, str], path: str = INFER, piece: int = 16_384) -> None:
        """One unary call."""
        self.open(stream, *more, path=path)
        self.data(stream, payload, end=True, piece=piece)

    def reset(self, stream: int) -> None:
        """Give a stream up."""
        self.send(raw_frame(3, 0, stream, b"\0\0\0\x08"))

    def _take(self) -> None:
        while len(self.got) >= 9 and len(self.got) >= (end := 9 + int.from_bytes(self.got[:3], "big")):
            self.frames.append((self.got[3], self.got[4], int.from_bytes(self.got[5:9], "big"), bytes(self.got[9:end])))
            del self.got[:end]

    def wait_for(self, found: Callable[[], bool], timeout_s: float = 20) -> None:
        """Read until a frame came that was looked for, or the connection has ended."""

        def look() -> bool:
            self._take()
            return found()

        self.read_until(look, timeout_s)
        self._take()

    def ends(self, timeout_s: float = 20) -> int:
        """The code of the GOAWAY with which the server ends the connection."""
        self.wait_for(lambda: False, timeout_s)
        assert self.closed
        return next(int.from_bytes(payload[4:8], "big") for kind, _, _, payload in self.frames if kind == 7)

    def status(self, stream: int, timeout_s: float = 20) -> int:
        """The gRPC status of a stream; the negative code of its reset where it has none."""

        def found() -> int | None:
            for kind, _, at, payload in self.frames:
                if at == stream and kind == 1 and b"grpc-status" in payload:
                    value = payload.partition(b"\x0bgrpc-status")[2]
                    return int(value[1 : 1 + value[0]])
                if at == stream and kind == 3:
                    return -int.from_bytes(payload, "big")
            return None

        self.wait_for(lambda: found() is not None, timeout_s)
        status = found()
        assert status is not None, f"no answer on stream {stream}: {self.frames[-5:]}"
        return status

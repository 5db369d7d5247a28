"""What tests of serving stand on: models that are functions, a transport that remembers, readers of raw answers, an HTTP/2 peer."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import h2.config
import h2.connection
import h2.events
import numpy as np

from aweigh.core.names import Digest, ModelName
from aweigh.core.package import Variant
from aweigh.core.settings import Settings
from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.executors import Caller, Done, Run
from aweigh.engine.model import LoadedModel, LoadReport
from aweigh.protos import message
from aweigh.serve.guard import Authoriser
from aweigh.serve.server import make_dispatcher
from aweigh.serve.wire.limits import Limits
from aweigh.serve.wire.listener import Listener
from aweigh.testing import FakeSession

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INFER = "/inference.GRPCInferenceService/ModelInfer"
BODY = b'{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'


def signature(**changes: Any) -> Signature:
    """Four floats in, a label and three scores out."""
    names = ("a", "b", "c", "d")
    made = Signature(
        inputs=(TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, 4)),),
        outputs=(
            TensorSpec(name="label", datatype=Datatype.INT64, shape=(BATCH,), role="label"),
            TensorSpec(name="scores", datatype=Datatype.FP32, shape=(BATCH, 3), role="probability"),
        ),
        task=Task.CLASSIFICATION,
        columns=tuple(Column(name=name, kind=ColumnKind.NUMBER, input="X", index=at) for at, name in enumerate(names)),
        labels=(0, 1, 2),
    )
    return made if not changes else Signature(**{field: changes.get(field, getattr(made, field)) for field in made.__struct_fields__})


def answer(inputs: Tensors) -> Sequence[Tensor]:
    """Label: the row's sum as an integer. Scores: its first three numbers."""
    rows = np.asarray(inputs["X"], dtype=np.float32)
    with np.errstate(all="ignore"):
        return [np.nan_to_num(rows.sum(axis=1)).astype(np.int64), rows[:, :3].copy()]


def echo_signature(datatype: Datatype, axes: tuple[int | str, ...] = (BATCH,)) -> Signature:
    """One input that comes back as it is."""
    spec = TensorSpec(name="X", datatype=datatype, shape=axes)
    return Signature(inputs=(spec,), outputs=(TensorSpec(name="Y", datatype=datatype, shape=axes),))


def echo(inputs: Tensors) -> Sequence[Tensor]:
    return [inputs["X"]]


class HeldThreads:
    """Stands for a ThreadExecutor: work waits until the test lets it run."""

    lanes = 1
    ready = True
    waiting = 0

    def __init__(self) -> None:
        self.held: list[tuple[Run, Caller, Done]] = []

    def submit(self, run: Run, caller: Caller, done: Done) -> None:
        self.held.append((run, caller, done))

    def release(self) -> None:
        """Run the oldest work, unless its caller has left, and deliver its answer."""
        run, _, done = self.held.pop(0)
        done(run(), None, 0.0)

    def close(self) -> None:
        self.held.clear()


def model(
    function: Callable[[Tensors], Sequence[Tensor]] = answer,
    *,
    of: Signature | None = None,
    name: str = "iris",
    version: str = "1",
    threads: Any = None,
    turn_rows: int = 0,
    inline_rows: int = -1,
    padded: bool = False,
    cacheable: bool = False,
    digest: str = "sha256:" + "0" * 64,
) -> LoadedModel:
    """A loaded model whose session is a function."""
    return LoadedModel(
        name=ModelName(name),
        version=version,
        digest=Digest(digest),
        signature=of or signature(),
        variant=Variant(name="fake", runtime="null", precision="fp32"),
        session=FakeSession(function),
        threads=threads,
        turn_rows=turn_rows,
        inline_rows=max(turn_rows, inline_rows),
        padded=padded,
        cacheable=cacheable,
        report=LoadReport(
            load_ms=1.0, replay_ms=1.0, golden_cases=1, call_us=1.0, inline_rows=-1, executor="thread" if threads else "inline", why="test"
        ),
    )


class Clock:
    """Time that moves only when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@dataclasses.dataclass
class Rig:
    """A listener over a data plane, with a clock."""

    dataplane: DataPlane
    listener: Listener
    clock: Clock

    def open(self) -> tuple[asyncio.Protocol, "Pipe"]:
        """A new connection whose first bytes decide its protocol."""
        protocol, pipe = self.listener.connect(), Pipe()
        pipe.protocol = protocol
        protocol.connection_made(pipe)  # type: ignore[arg-type]  # the Pipe is all that the wire uses of a transport
        return protocol, pipe

    def tick(self, seconds: float) -> None:
        """Let time pass: one round of the listener's connections after `seconds`."""
        self.clock.seconds += seconds
        for connection in list(self.listener._connections):
            connection.tick(self.clock())


def rig(*models: LoadedModel, keys: Mapping[str, bytes] | None = None, **settings: Any) -> Rig:
    """Everything behind a port, without the port."""
    dataplane = DataPlane(Settings(**settings))
    for each in models or (model(),):
        dataplane.add(each)
    dataplane.started = True
    dispatcher = make_dispatcher(dataplane, Authoriser(keys))
    listener = Listener(dispatcher, Limits.of(dataplane.settings))
    clock = Clock()
    listener.now = clock
    dataplane.wire, dataplane.counts = listener, listener.cells
    return Rig(dataplane, listener, clock)


class Pipe:
    """A transport in memory: remembers what was written, drops what is written after close as asyncio does."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.protocol: Any = None
        self.closed = self.aborted = self.ended = False
        self.reading = True

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        if self.closed:
            raise RuntimeError("closing")
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def send(self, data: bytes) -> None:
        """What a client sends."""
        at = 0
        while at < len(data) and not self.closed and hasattr(self.protocol, "get_buffer"):  # a body that is read to its place
            room = self.protocol.get_buffer(-1)
            size = min(len(room), len(data) - at)
            room[:size] = data[at : at + size]
            at += size
            self.protocol.buffer_updated(size)
        if not self.closed and at < len(data):
            self.protocol.data_received(data[at:])

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = bytes(self.written)
        self.written.clear()
        return taken


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def answers(raw: bytes, *, head_only: bool = False) -> list[Answer]:
    """The HTTP/1.1 responses in raw bytes; each must be whole."""
    found = []
    while raw:
        head, blank, raw = raw.partition(b"\r\n\r\n")
        assert blank, f"half a head: {head!r}"
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if head_only else int(headers.get("content-length", 0))
        assert len(raw) >= length, "half a body"
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        found.append(Answer(int(status), headers, raw[:length]))
        raw = raw[length:]
    return found


def post(path: str = "/v2/models/iris/infer", body: bytes = BODY, *headers: str, length: int | None = None) -> bytes:
    """One HTTP/1.1 request."""
    lines = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def buffered(on: Rig) -> int:
    """Bytes of requests that the only HTTP/2 connection holds until they are whole, or their turn comes; 0 once it is closed."""
    connections: set[Any] = on.listener._connections
    return sum(connection._replies.buffered for connection in connections if not connection._transport.is_closing())


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: here", *headers]).encode("latin-1") + b"\r\n\r\n"


def exchange(on: Rig, data: bytes) -> list[Answer]:
    """Send bytes on a fresh connection; every response that came back."""
    _, pipe = on.open()
    pipe.send(data)
    return answers(pipe.take(), head_only=data.startswith(b"HEAD"))


def grpc_frame(payload: bytes) -> bytes:
    return b"\0" + len(payload).to_bytes(4, "big") + payload


def infer_message(values: Sequence[float] = (1, 2, 3, 4), *, name: str = "iris", **changes: Any) -> Any:
    """A ModelInferRequest of one row in raw contents."""
    asked = message("inference.ModelInferRequest")(model_name=name, **changes)
    asked.inputs.add(name="X", datatype="FP32", shape=[len(values) // 4, 4])
    asked.raw_input_contents.append(np.array(values, dtype="<f4").tobytes())
    return asked


class Http2Peer:
    """The h2 library as the client of one connection in memory. `pump` moves bytes both ways and returns the client's events."""

    def __init__(self, on: Rig) -> None:
        self.protocol, self.pipe = on.open()
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.client.initiate_connection()
        self.events: list[Any] = []
        self.acknowledge = True
        """Whether received data opens the window again."""

    def pump(self) -> list[Any]:
        got: list[Any] = []
        for _ in range(10_000):
            sent, back = self.client.data_to_send(), b""
            if sent:
                self.pipe.send(sent)
            back = self.pipe.take()
            if not sent and not back:
                break
            if back:
                for event in self.client.receive_data(back):
                    got.append(event)
                    if isinstance(event, h2.events.DataReceived) and self.acknowledge:
                        self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.events += got
        return got

    def open(self, path: str, *more: tuple[str, str], method: str = "POST", grpc: bool = True, end: bool = False) -> int:
        """Send a request's headers; its stream."""
        stream = self.client.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "here")]
        if grpc:
            fields += [("te", "trailers"), ("content-type", "application/grpc")]
        self.client.send_headers(stream, [*fields, *more], end_stream=end)
        return stream

    def call(self, payload: bytes, path: str = INFER, *more: tuple[str, str]) -> int:
        """One unary gRPC call, its message framed."""
        stream = self.open(path, *more)
        self.client.send_data(stream, grpc_frame(payload), end_stream=True)
        return stream

    def response(self, stream: int) -> "Reply":
        """What came back on a stream, over all pumps so far."""
        reply = Reply({}, b"", {}, False, None)
        for event in self.events:
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                reply.headers = dict(event.headers)
            elif isinstance(event, h2.events.TrailersReceived):
                reply.trailers = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                reply.data += event.data
            elif isinstance(event, h2.events.StreamEnded):
                reply.ended = True
            elif isinstance(event, h2.events.StreamReset):
                reply.reset = int(event.error_code)
        return reply

    @property
    def goaway(self) -> h2.events.ConnectionTerminated | None:
        found = [event for event in self.events if isinstance(event, h2.events.ConnectionTerminated)]
        return found[-1] if found else None


@dataclasses.dataclass
class Reply:
    headers: dict[str, str]
    data: bytes
    trailers: dict[str, str]
    ended: bool
    reset: int | None

    @property
    def grpc_status(self) -> int:
        return int({**self.headers, **self.trailers}["grpc-status"])

    @property
    def grpc_text(self) -> str:
        from urllib.parse import unquote

        return unquote({**self.headers, **self.trailers}.get("grpc-message", ""))

    def message(self, name: str = "inference.ModelInferResponse") -> Any:
        assert len(self.data) >= 5
        assert int.from_bytes(self.data[1:5], "big") == len(self.data) - 5
        return message(name).FromString(self.data[5:])

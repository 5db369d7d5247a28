"""What goes between `Client` and its transports: the request, the answer, metadata, and the `Transport` seam. Imports no transport library."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from aweigh.core.tensors import Tensor

Row = Mapping[str, object]


class TensorMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output as the server describes it; -1 is an axis of any size. The datatype is text: it may be newer than this client."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of a model."""

    name: str
    versions: tuple[str, ...] = ()
    platform: str = ""
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()


class ServerMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of itself."""

    name: str
    version: str = ""
    extensions: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """One inference: named arrays, and which outputs are wanted (none named: all)."""

    model: str
    inputs: Mapping[str, Tensor]
    version: str = ""
    id: str = ""
    outputs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InferResult(Mapping[str, Tensor]):
    """The answer: a mapping from output name to array, in the server's order. Numeric arrays may be read-only.

    A BYTES element is `str`, or `bytes` where it is not UTF-8; the same over both protocols.
    """

    tensors: Mapping[str, Tensor]
    model_name: str
    model_version: str = ""
    id: str = ""

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a server is and how it is reached."""

    host: str
    port: int
    tls: bool = False
    path: str = ""
    """What stands before every REST route, without a slash at its end."""
    api_key: str = dataclasses.field(default="", repr=False)
    ca_file: str = ""
    """PEM file of the authorities to trust; empty: the system's."""

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Transport(Protocol):
    """One protocol, one attempt per call: no retries here. Every call is bounded by `timeout_s` and raises AweighError. Thread-safe.

    Seven methods, two more than the house's five: they are the seven things that differ on the wire.
    """

    def healthy(self, model: str, version: str, *, live: bool, timeout_s: float) -> bool:
        """Whether the server (`model` empty) or the model is ready; with `live`, whether the server lives."""
        ...

    def server(self, timeout_s: float) -> ServerMetadata: ...

    def metadata(self, model: str, version: str, timeout_s: float) -> ModelMetadata: ...

    def infer(self, request: InferRequest, timeout_s: float) -> InferResult: ...

    def predict(self, model: str, version: str, rows: Sequence[Row], *, request_id: str, timeout_s: float) -> list[dict[str, object]]:
        """Answer rows of named columns (missing: None); one answer per row, in order."""
        ...

    def operate(self, path: str, document: bytes | None, timeout_s: float) -> bytes:
        """Ask what the server does with its models, or have it do something: GET without a document, else POST."""
        ...

    def close(self) -> None: ...

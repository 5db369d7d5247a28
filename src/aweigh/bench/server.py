"""The server under load, seen from outside: what it says of itself and of its model, and whether it shares this machine."""

import contextlib
import socket
from typing import Any, Final

import msgspec

from aweigh.bench.address import Address
from aweigh.bench.fetch import fetch, method, rest
from aweigh.bench.http1 import Answer
from aweigh.bench.plan import Question
from aweigh.bench.questions import ColumnInfo, TensorInfo
from aweigh.core import errors
from aweigh.core.errors import AweighError
from aweigh.protos import message

_BY_STATUS: Final[dict[str, type[AweighError]]] = {
    "400": errors.InvalidInput, "401": errors.Unauthenticated, "403": errors.Denied, "404": errors.NotFound, "405": errors.Unsupported,
    "413": errors.TooLarge, "415": errors.Unsupported, "422": errors.InvalidInput, "429": errors.Overloaded, "500": errors.InternalError,
    "501": errors.Unsupported, "INVALID_ARGUMENT": errors.InvalidInput, "UNAUTHENTICATED": errors.Unauthenticated,
    "PERMISSION_DENIED": errors.Denied, "NOT_FOUND": errors.NotFound, "UNIMPLEMENTED": errors.Unsupported,
    "RESOURCE_EXHAUSTED": errors.Overloaded, "INTERNAL": errors.InternalError,
}  # fmt: skip


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of the model."""

    name: str = ""
    versions: tuple[str, ...] = ()
    platform: str = ""
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    columns: tuple[ColumnInfo, ...] = ()


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of itself; empty where it does not."""

    name: str = ""
    version: str = ""
    config: dict[str, object] = {}
    """How the model is run: the parameters of its configuration, or what batching and instances it names."""


def refusal(answer: Answer, what: str) -> AweighError:
    """The error that an answer stands for, with the server's own words."""
    said, hint = answer.message, ""
    with contextlib.suppress(msgspec.DecodeError):
        document = msgspec.json.decode(answer.body)
        if isinstance(document, dict):
            said, hint = str(document.get("error") or document.get("detail") or said), str(document.get("hint") or "")
    cls = _BY_STATUS.get(answer.status, errors.Unavailable)
    if cls is errors.Unauthenticated:
        hint = "give the key with --api-key-file FILE"
    elif cls is errors.NotFound:
        hint = hint or "check the path of the URL"
    return cls(f"{what}: the server answered {answer.status}{': ' if said else ''}{said[:300]}", hint=hint, status=answer.status)


def describe(address: Address, *, timeout_s: float) -> ModelFacts:
    """Ask for the model's metadata. Raises ModelNotFound, Unauthenticated, Unavailable and what else the server says."""
    if address.dialect == "raw":
        return ModelFacts()
    if address.dialect == "open-inference-grpc":
        return _describe_grpc(address, timeout_s)
    answer = fetch(rest(address.target, address.model_path), None, timeout_s=timeout_s)
    if not answer.ok:
        raise _model_refusal(answer, address)
    try:
        if address.dialect == "predict":
            found = msgspec.json.decode(answer.body, type=_Columns)
            return ModelFacts(name=found.model, versions=(found.version,), columns=found.columns)
        return msgspec.json.decode(answer.body, type=ModelFacts)
    except msgspec.DecodeError as error:
        raise errors.InvalidInput(
            f"{address.target.address}{address.model_path} describes no model: {error}", hint="is the URL that of an inference server?"
        ) from error


class _Columns(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    version: str = ""
    columns: tuple[ColumnInfo, ...] = ()


def _describe_grpc(address: Address, timeout_s: float) -> ModelFacts:
    asked = message("inference.ModelMetadataRequest")(name=address.model, version=address.version)
    answer = fetch(method(address.target, "ModelMetadata"), Question(body=asked.SerializeToString()), timeout_s=timeout_s)
    if not answer.ok:
        raise _model_refusal(answer, address)
    told: Any = message("inference.ModelMetadataResponse").FromString(answer.body)
    inputs, outputs = (
        tuple(TensorInfo(name=tensor.name, datatype=tensor.datatype, shape=tuple(tensor.shape)) for tensor in tensors)
        for tensors in (told.inputs, told.outputs)
    )
    return ModelFacts(name=told.name, versions=tuple(told.versions), platform=told.platform, inputs=inputs, outputs=outputs)


def _model_refusal(answer: Answer, address: Address) -> AweighError:
    found = refusal(answer, f"cannot learn of model '{address.model}'")
    if answer.status in {"404", "NOT_FOUND"}:
        found = errors.ModelNotFound(found.message, hint=found.hint)
    return found


def server_facts(address: Address, *, timeout_s: float) -> ServerFacts:
    """What else the server tells; nothing of it is needed, so no failure is one."""
    try:
        if address.dialect == "open-inference-grpc":
            answer = fetch(method(address.target, "ServerMetadata"), Question(body=b""), timeout_s=timeout_s)
            told: Any = message("inference.ServerMetadataResponse").FromString(answer.body)
            return ServerFacts(name=told.name, version=told.version)
        if address.dialect == "raw":
            return ServerFacts()
        named = _document(fetch(rest(address.target, f"{address.base}/v2"), None, timeout_s=timeout_s))
        route = f"{address.base}/v2/models/{address.model}/config"
        config = _document(fetch(rest(address.target, route), None, timeout_s=timeout_s))
        return ServerFacts(name=str(named.get("name", "")), version=str(named.get("version", "")), config=_run_as(config))
    except (AweighError, msgspec.DecodeError, ValueError):
        return ServerFacts()


def _document(answer: Answer) -> dict[str, Any]:
    found = msgspec.json.decode(answer.body) if answer.ok else {}
    return found if isinstance(found, dict) else {}


def _run_as(config: dict[str, Any]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in (config.get("parameters") or {}).items():
        found[str(name)] = value.get("string_value", value) if isinstance(value, dict) else value
    for name in ("max_batch_size", "dynamic_batching", "instance_group"):
        if config.get(name):
            found[name] = config[name]
    return found


def is_this_machine(host: str) -> bool:
    """Whether an address of the host is one of this machine: only then can a socket be bound to it."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, number, _, place in found:
        with contextlib.suppress(OSError), socket.socket(family, kind, number) as probe:
            probe.bind(place)
            return True
    return False

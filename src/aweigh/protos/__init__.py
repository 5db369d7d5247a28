"""The protobuf messages of the gRPC dialects, from `protocols.binpb`, in a pool of their own.

A pool of their own because the peers' clients register the same names in protobuf's default pool, and both must fit into one process.
Used by the gRPC dialect and by the client. The message classes are made at import; field types are those of inference.proto.
"""

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

__all__ = ["DecodeError", "message", "method_names"]

_POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(resources.files(__name__).joinpath("protocols.binpb").read_bytes()).file:
    _POOL.Add(_file)


def message(name: str) -> Any:
    """The message class of a full name such as `inference.ModelInferRequest`. Raises KeyError."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


def method_names(service: str) -> list[str]:
    """The method names of a service, in the order of its file. Raises KeyError."""
    return [method.name for method in _POOL.FindServiceByName(service).methods]

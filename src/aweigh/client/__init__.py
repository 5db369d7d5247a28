"""The client of an Open Inference server: `Client` asks over REST or gRPC, with arrays or with rows of named columns."""

from aweigh.client.client import Client
from aweigh.client.values import InferResult, ModelMetadata, ServerMetadata, TensorMetadata

__all__ = ["Client", "InferResult", "ModelMetadata", "ServerMetadata", "TensorMetadata"]

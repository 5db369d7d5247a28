"""The yardstick of large tensors, `bench/memcpy_loop.py`."""

import sys

from aweigh.protos import message
from bench.peers.peer import Peer, Ports
from bench.workload import Workload, binary_document

_HEAD = (
    "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {length}\r\nx-request-id: 0123456789-12ab\r\n"
    "date: Thu, 01 Jan 1970 00:00:00 GMT\r\nconnection: keep-alive\r\ninference-header-content-length: {header}\r\n\r\n"
)


def rest_answer(workload: Workload) -> bytes:
    """A response as long as aweigh's."""
    header, blobs = binary_document(workload.expected or {}, model_name=workload.model, model_version="1", list_name="outputs")
    return _HEAD.format(length=len(header) + len(blobs), header=len(header)).encode() + header + blobs


def grpc_answer(workload: Workload) -> bytes:
    answer = message("inference.ModelInferResponse")(model_name=workload.model, model_version="1")
    for name, array in (workload.expected or {}).items():
        answer.outputs.add(name=name, datatype="FP32", shape=array.shape)
        answer.raw_output_contents.append(array.tobytes())
    made: bytes = answer.SerializeToString()
    return made


def _command(workload: Workload, ports: Ports) -> list[str]:
    (tensor,) = workload.inputs.values()
    rest, grpc = workload.file.with_suffix(".rest"), workload.file.with_suffix(".grpc")
    rest.write_bytes(rest_answer(workload))
    grpc.write_bytes(grpc_answer(workload))
    return [sys.executable, "-m", "bench.memcpy_loop", str(tensor.nbytes), str(rest), str(grpc), str(ports.rest), str(ports.grpc)]


PEER = Peer(
    name="memcpy",
    command=_command,
    one_port=False,
    about="uvloop, asyncio.Protocol: one copy of the tensor into an array that is used again, a fixed answer; glibc keeps what is freed",
    environment=(
        ("MALLOC_TRIM_THRESHOLD_", str(1 << 30)),
        ("MALLOC_MMAP_THRESHOLD_", str(1 << 25)),
    ),  # else page faults, not copying, are timed
)

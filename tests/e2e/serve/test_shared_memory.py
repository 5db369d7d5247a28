"""System shared memory as tritonclient's users have it: registered, written, asked for and read over HTTP and gRPC, in one server."""

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tests.serving.served import AWEIGH, Served
from tritonclient.utils import InferenceServerException, serialize_byte_tensor
from tritonclient.utils import shared_memory as shm

BYTES = 4096
DOORS = [triton_http, triton_grpc]
OFF = "Client shared memory is disabled."


@pytest.fixture(scope="module")
def sharing(home: Path) -> Iterator[Served]:
    """A server that takes shared memory."""
    server = Served(home, "linear", "words", "dear", "--shared-memory")
    yield server
    assert server.end() == 0, server.log


@pytest.fixture
def region() -> Iterator[Any]:
    """A region of this process, of a name that nobody else has."""
    handle = shm.create_shared_memory_region("mine", f"/aw-{uuid.uuid4().hex}", BYTES)
    yield handle
    shm.destroy_shared_memory_region(handle)


def key(region: Any) -> str:
    return str(region._shm_key)


def given(module: ModuleType, name: str, shape: list[int], datatype: str, size: int, offset: int = 0) -> Any:
    tensor = module.InferInput(name, shape, datatype)
    tensor.set_shared_memory("mine", size, offset=offset)
    return tensor


def wanted(module: ModuleType, name: str, size: int, offset: int) -> Any:
    output = module.InferRequestedOutput(name)
    output.set_shared_memory("mine", size, offset=offset)
    return output


@pytest.mark.parametrize("model", ["linear", "dear"])
@pytest.mark.parametrize("module", DOORS)
def test_tensors_go_both_ways(module: ModuleType, model: str, sharing: Served, region: Any, rows: np.ndarray, expected: np.ndarray) -> None:
    shm.set_shared_memory_region(region, [rows], offset=64)
    output, answer = ("scores", expected) if model == "linear" else ("Y", rows)
    with module.InferenceServerClient(sharing.target) as client:
        client.register_system_shared_memory("mine", key(region), BYTES)
        for _ in range(3):
            shm.set_shared_memory_region(region, [np.zeros(answer.shape, np.float32)], offset=1024)
            result = client.infer(
                model,
                [given(module, "X", [5, 4], "FP32", rows.nbytes, 64)],
                outputs=[wanted(module, output, answer.nbytes, 1024)],
                request_id="7",
            )
            found = shm.get_contents_as_numpy(region, np.float32, list(answer.shape), offset=1024)
            assert np.allclose(found, answer, atol=1e-5)
            told = result.get_output(output)
            assert list(told["shape"] if isinstance(told, dict) else told.shape) == list(answer.shape)
            del found
        client.unregister_system_shared_memory("mine")
        with pytest.raises(InferenceServerException, match="Unable to find shared memory region: 'mine'"):
            client.infer(model, [given(module, "X", [5, 4], "FP32", rows.nbytes, 64)])


@pytest.mark.parametrize("module", DOORS)
def test_some_tensors_in_memory_and_some_in_the_request(
    module: ModuleType, sharing: Served, region: Any, rows: np.ndarray, expected: np.ndarray
) -> None:
    sent = module.InferInput("X", [5, 4], "FP32")
    sent.set_data_from_numpy(rows)
    with module.InferenceServerClient(sharing.target) as client:
        client.register_system_shared_memory("mine", key(region), BYTES - 256, offset=256)
        result = client.infer("linear", [sent], outputs=[module.InferRequestedOutput("best"), wanted(module, "scores", 60, 0)])
        assert result.as_numpy("best").tolist() == expected.argmax(axis=1).tolist()
        found = shm.get_contents_as_numpy(region, np.float32, [5, 3], offset=256)
        assert np.allclose(found, expected, atol=1e-5)
        del found
        client.unregister_system_shared_memory()


@pytest.mark.parametrize("module", DOORS)
def test_texts_in_memory(module: ModuleType, sharing: Served, region: Any) -> None:
    texts = np.array([["a"], ["ä" * 20]], dtype=object)
    raw = serialize_byte_tensor(texts)
    shm.set_shared_memory_region(region, [raw])
    size = len(raw.item())
    with module.InferenceServerClient(sharing.target) as client:
        client.register_system_shared_memory("mine", key(region), BYTES)
        client.infer("words", [given(module, "text", [2, 1], "BYTES", size)], outputs=[wanted(module, "same", 512, 1024)])
        found = shm.get_contents_as_numpy(region, np.object_, [2, 1], offset=1024)
        assert [item.decode() for item in found.ravel()] == texts.ravel().tolist()
        client.unregister_system_shared_memory("mine")


def test_a_region_is_known_at_both_doors(sharing: Served, region: Any, rows: np.ndarray, expected: np.ndarray) -> None:
    shm.set_shared_memory_region(region, [rows])
    with triton_http.InferenceServerClient(sharing.target) as http, triton_grpc.InferenceServerClient(sharing.target) as grpc:
        assert http.get_system_shared_memory_status() == []
        http.register_system_shared_memory("mine", key(region), 512, offset=0)
        line = {"name": "mine", "key": key(region), "offset": 0, "byte_size": 512}
        assert http.get_system_shared_memory_status() == http.get_system_shared_memory_status("mine") == [line]
        for name in ("", "mine"):
            told = grpc.get_system_shared_memory_status(name).regions
            assert [(each.name, each.key, each.offset, each.byte_size) for each in told.values()] == [tuple(line.values())]
        result = grpc.infer("linear", [given(triton_grpc, "X", [5, 4], "FP32", rows.nbytes)])
        assert np.allclose(result.as_numpy("scores"), expected, atol=1e-5)
        grpc.unregister_system_shared_memory()
        assert http.get_system_shared_memory_status() == []
        assert "system_shared_memory" in http.get_server_metadata()["extensions"]
        assert "system_shared_memory" in grpc.get_server_metadata().extensions


def refusal(call: Any) -> tuple[str, str]:
    """Text and status of an error that must come."""
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.message(), str(caught.value.status())


CASES: dict[str, tuple[Any, str, tuple[str, str]]] = {
    "no such file": (lambda client, module, region: client.register_system_shared_memory("new", "/aw-absent", 64), "Unable to open shared memory region: '/aw-absent'", ("400", "StatusCode.INVALID_ARGUMENT")),
    "no name of a file": (lambda client, module, region: client.register_system_shared_memory("new", "/../etc/passwd", 64), "cannot register shared memory region 'new' - invalid shm key '/../etc/passwd'", ("400", "StatusCode.INVALID_ARGUMENT")),
    "our own": (lambda client, module, region: client.register_system_shared_memory("new", "aweigh-workers", 64), "cannot register shared memory region 'new' - invalid shm key 'aweigh-workers'", ("400", "StatusCode.INVALID_ARGUMENT")),
    "too large": (lambda client, module, region: client.register_system_shared_memory("new", key(region), BYTES + 1), "failed to register shared memory region 'new': invalid args", ("400", "StatusCode.INVALID_ARGUMENT")),
    "overflow": (lambda client, module, region: client.register_system_shared_memory("new", key(region), 64, offset=2**64 - 32), "failed to register shared memory region 'new': invalid args", ("400", "StatusCode.INVALID_ARGUMENT")),
    "twice": (lambda client, module, region: client.register_system_shared_memory("mine", key(region), 64), "shared memory region 'mine' already in manager", ("400", "StatusCode.ALREADY_EXISTS")),
    "status of another": (lambda client, module, region: client.get_system_shared_memory_status("yours"), "Unable to find system shared memory region: 'yours'", ("404", "StatusCode.NOT_FOUND")),
    "input outside": (lambda client, module, region: client.infer("linear", [given(module, "X", [5, 4], "FP32", 80, 2**40)]), "Invalid offset for shared memory region: 'mine'", ("400", "StatusCode.INVALID_ARGUMENT")),
    "input too long": (lambda client, module, region: client.infer("linear", [given(module, "X", [5, 4], "FP32", 80, BYTES - 8)]), "Invalid offset + byte size for shared memory region: 'mine'", ("400", "StatusCode.INVALID_ARGUMENT")),
    "input of another size": (lambda client, module, region: client.infer("linear", [given(module, "X", [5, 4], "FP32", 64)]), "input byte size mismatch for input 'X' for model 'linear'. Expected 80, got 64", ("400", "StatusCode.INVALID_ARGUMENT")),
    "output too small": (lambda client, module, region: client.infer("linear", [given(module, "X", [5, 4], "FP32", 80)], outputs=[wanted(module, "scores", 59, 128)]), "shared memory size specified with the request for output 'scores' (59 bytes) should be at least 60 bytes to hold the results", ("400", "StatusCode.INVALID_ARGUMENT")),
    "output outside": (lambda client, module, region: client.infer("linear", [given(module, "X", [5, 4], "FP32", 80)], outputs=[wanted(module, "scores", 64, BYTES)]), "Invalid offset for shared memory region: 'mine'", ("400", "StatusCode.INVALID_ARGUMENT")),
    "memory of a GPU": (lambda client, module, region: client.register_cuda_shared_memory("gpu", b"aGFuZGxl", 0, 64), "failed to register CUDA shared memory region: 'gpu', GPUs not supported", ("501", "StatusCode.UNIMPLEMENTED")),
    "status of a GPU's": (lambda client, module, region: client.get_cuda_shared_memory_status("gpu"), "Unable to find cuda shared memory region: 'gpu'", ("404", "StatusCode.NOT_FOUND")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_mistakes_are_said_alike_at_both_doors(case: str, sharing: Served, region: Any) -> None:
    call, text, statuses = CASES[case]
    for module, status in zip(DOORS, statuses, strict=True):
        with module.InferenceServerClient(sharing.target) as client:
            client.register_system_shared_memory("mine", key(region), BYTES)
            assert refusal(lambda: call(client, module, region)) == (text, status)  # noqa: B023  # called at once
            client.unregister_cuda_shared_memory()
            client.unregister_system_shared_memory()


def test_a_client_that_shrinks_its_memory_gets_an_error_and_the_server_lives(sharing: Served, region: Any, rows: np.ndarray) -> None:
    with triton_http.InferenceServerClient(sharing.target) as client:
        client.register_system_shared_memory("mine", key(region), BYTES)
        os.truncate(f"/dev/shm/{key(region).lstrip('/')}", 16)
        for call in (
            lambda: client.infer("linear", [given(triton_http, "X", [5, 4], "FP32", 80)]),
            lambda: client.infer("linear", [sent(rows)], outputs=[wanted(triton_http, "scores", 60, 1024)]),
        ):
            assert refusal(call)[0] == "shared memory region 'mine' is shorter than it was when it was registered"
        client.unregister_system_shared_memory()
        assert client.is_server_live()


def sent(rows: np.ndarray) -> Any:
    tensor = triton_http.InferInput("X", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    return tensor


def test_what_was_registered_is_closed_when_it_is_given_back(sharing: Served, region: Any) -> None:
    def held() -> int:
        return sum(key(region) in str(link.readlink()) for link in Path(f"/proc/{sharing.process.pid}/fd").iterdir() if link.is_symlink())

    with triton_grpc.InferenceServerClient(sharing.target) as client:
        client.register_system_shared_memory("mine", key(region), BYTES)
        assert held() == 1
        client.unregister_system_shared_memory("mine")
        assert held() == 0
    assert not re.search(key(region), Path(f"/proc/{sharing.process.pid}/maps").read_text())


@pytest.mark.parametrize("module", DOORS)
def test_off_by_default(module: ModuleType, server: Served, region: Any) -> None:
    status = "501" if module is triton_http else "StatusCode.UNIMPLEMENTED"
    with module.InferenceServerClient(server.target) as client:
        for call in (
            lambda: client.register_system_shared_memory("mine", key(region), BYTES),
            client.unregister_system_shared_memory,
            client.get_system_shared_memory_status,
            lambda: client.register_cuda_shared_memory("mine", b"aGFuZGxl", 0, 64),
            client.unregister_cuda_shared_memory,
            client.get_cuda_shared_memory_status,
        ):
            text, found = refusal(call)
            assert text.startswith(OFF)
            assert found == status
        assert (
            refusal(lambda: client.infer("linear", [given(module, "X", [5, 4], "FP32", 80)]))[0]
            == "Unable to find shared memory region: 'mine'"
        )


def test_several_workers_take_no_shared_memory(home: Path) -> None:
    """A region is known to one process; requests come to any."""
    command = [str(AWEIGH), "serve", "linear", "--workers", "2", "--shared-memory", "--port", "0"]
    done = subprocess.run(command, env={"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home)}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "shared_memory needs one worker" in done.stderr

"""Triton's extensions about the server and its figures, asked by tritonclient over HTTP and gRPC: logs, traces, statistics, timeouts, errors."""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tests.serving.served import Served
from tritonclient.utils import InferenceServerException

DOORS = [triton_http, triton_grpc]
LEVELS = {"log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0}
STEPS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")


@pytest.fixture
def own(serve: Callable[..., Served]) -> Served:
    """A server that nobody else asks."""
    return serve("linear", "dear", "--threads", "1", "--batching", "off", "--executor", "auto", "--log-format", "json")


def tensor(module: ModuleType, rows: np.ndarray, name: str = "X", datatype: str = "FP32", shape: list[int] | None = None) -> Any:
    given = module.InferInput(name, shape or list(rows.shape), datatype)
    given.set_data_from_numpy(rows)
    return given


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    """Text and status of an error that must come."""
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.message(), str(caught.value.status())


def logged(client: Any, module: ModuleType, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """The log settings as either client tells them, the form and the file left out."""
    told = client.get_log_settings() if settings is None else client.update_log_settings(settings)
    if module is triton_grpc:
        told = {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in told.settings.items()}
    assert told.pop("log_format") == "ISO8601"
    assert told.pop("log_file") == ""
    return dict(told)


def test_log_settings_are_read_and_changed_and_have_their_effect(own: Served, rows: np.ndarray) -> None:
    with triton_http.InferenceServerClient(own.target) as http, triton_grpc.InferenceServerClient(own.target) as grpc:
        assert logged(http, triton_http) == logged(grpc, triton_grpc) == LEVELS
        assert logged(http, triton_http, {"log_info": False, "log_verbose_level": None}) == LEVELS | {"log_info": False}
        assert logged(grpc, triton_grpc) == LEVELS | {"log_info": False}
        silent = len(own.log)
        http.unload_model("linear")
        http.load_model("linear")  # both are info events
        assert logged(grpc, triton_grpc, {"log_info": True, "log_verbose_level": 1}) == LEVELS | {"log_verbose_level": 1}
        http.unload_model("linear")
        http.load_model("linear")
        text, said = "", []
        deadline = time.monotonic() + 5
        while "model ready" not in text and time.monotonic() < deadline:
            time.sleep(0.05)
            said = own.log[silent:]
            text = "".join(said)
        assert sum("model ready" in line for line in said) == sum("model unloaded" in line for line in said) == 1
        for client, module in ((http, triton_http), (grpc, triton_grpc)):
            status = {triton_http: ("400", "501"), triton_grpc: ("StatusCode.INVALID_ARGUMENT", "StatusCode.UNIMPLEMENTED")}[module]
            fixed, unknown = (partial(client.update_log_settings, settings) for settings in ({"log_file": "x"}, {"log_warnings": True}))
            assert refusal(fixed) == ("log file location can not be updated through network protocol", status[1])
            assert refusal(unknown) == ("unknown log setting 'log_warnings'", status[0])
            assert logged(client, module, {"log_info": None})["log_info"] is True
        assert refusal(lambda: http.update_log_settings({"log_info": "yes"})) == ("expect boolean for 'log_info'", "400")


@pytest.mark.parametrize(("module", "status"), [(triton_http, "501"), (triton_grpc, "StatusCode.UNIMPLEMENTED")])
def test_traces_are_not_pretended(module: ModuleType, status: str, server: Served) -> None:
    with module.InferenceServerClient(server.target) as client:
        for call in (
            client.get_trace_settings,
            lambda: client.get_trace_settings("linear"),
            lambda: client.update_trace_settings(settings={"trace_rate": "1"}),
            lambda: client.update_trace_settings("linear", {"trace_level": ["TIMESTAMPS"]}),
        ):
            assert refusal(call) == ("the server does not support tracing", status)


def figures(http: Any, grpc: Any, model: str) -> dict[str, Any]:
    """A model's statistics, which both doors tell alike."""
    found: dict[str, Any] = http.get_inference_statistics(model)["model_stats"][0]
    told = grpc.get_inference_statistics(model).model_stats[0]
    assert (told.name, told.version, told.inference_count, told.execution_count) == (
        found["name"], found["version"], found["inference_count"], found["execution_count"],
    )  # fmt: skip
    for step in STEPS:
        assert told.inference_stats.HasField(step)
        assert getattr(told.inference_stats, step).count == found["inference_stats"][step]["count"], step
        assert getattr(told.inference_stats, step).ns == found["inference_stats"][step]["ns"], step
    assert [(batch.batch_size, batch.compute_infer.count) for batch in told.batch_stats] == [
        (batch["batch_size"], batch["compute_infer"]["count"]) for batch in found["batch_stats"]
    ]
    assert (found["response_stats"], found["memory_usage"]) == ({}, [])
    return found


@pytest.mark.parametrize("model", ["linear", "dear"])
def test_statistics_are_what_a_counting_client_saw(model: str, own: Served, rows: np.ndarray) -> None:
    right = wrong = counted = 0
    with triton_http.InferenceServerClient(own.target) as http, triton_grpc.InferenceServerClient(own.target) as grpc:
        for turn in range(30):
            client, module = ((http, triton_http), (grpc, triton_grpc))[turn % 2]
            part = rows[: turn % 5 + 1]
            mistakes: list[Callable[[], Any]] = [
                lambda: client.infer(model, [tensor(module, part[:, :3])]),  # noqa: B023
                lambda: client.infer(model, [tensor(module, part, name="Z")]),  # noqa: B023
                lambda: client.infer(model, [tensor(module, part)], outputs=[module.InferRequestedOutput("none")]),  # noqa: B023
                lambda: client.infer(model, [tensor(module, part)], timeout=1),  # noqa: B023
            ]
            if turn % 3 == 2:
                refusal(mistakes[turn % 4])
                wrong += 1
            else:
                client.infer(model, [tensor(module, part)])
                right += 1
                counted += len(part)
        found = figures(http, grpc, model)
        steps = found["inference_stats"]
        assert (found["inference_count"], found["execution_count"]) == (counted, right)
        assert (steps["success"]["count"], steps["fail"]["count"]) == (right, wrong)
        assert sum(batch["compute_infer"]["count"] for batch in found["batch_stats"]) == right
        for step in ("queue", "compute_input", "compute_infer", "compute_output"):
            assert steps[step]["count"] == right
        for step in ("success", "fail", "compute_input", "compute_infer", "compute_output"):
            assert steps[step]["ns"] > 0, step
        parts = sum(steps[step]["ns"] for step in ("queue", "compute_input", "compute_infer", "compute_output"))
        assert 0.99 * parts <= steps["success"]["ns"] <= 1.01 * parts
        assert abs(found["last_inference"] / 1000 - time.time()) < 60
        assert steps["cache_hit"] == steps["cache_miss"] == {"count": 0, "ns": 0}


@pytest.mark.parametrize(
    ("module", "status", "at_once"),
    [(triton_http, "504", "429"), (triton_grpc, "StatusCode.DEADLINE_EXCEEDED", "StatusCode.RESOURCE_EXHAUSTED")],
)
def test_a_timeout_is_a_deadline(module: ModuleType, status: str, at_once: str, own: Served, rows: np.ndarray) -> None:
    stop = threading.Event()

    def press() -> None:
        with triton_grpc.InferenceServerClient(own.target) as client:
            while not stop.is_set():
                client.infer("dear", [tensor(triton_grpc, rows)])

    pressing = [threading.Thread(target=press) for _ in range(4)]
    with module.InferenceServerClient(own.target) as client:
        before = executions(client, module)
        text, found = refusal(lambda: client.infer("linear", [tensor(module, rows)], timeout=1))
        assert (text, found) == ("the request's timeout of 1 us passed before it was started", status)
        assert executions(client, module) == before  # it was not run
        assert client.infer("linear", [tensor(module, rows)], timeout=10_000_000).as_numpy("best") is not None
        for thread in pressing:
            thread.start()
        time.sleep(0.1)
        late = [refusal(lambda: client.infer("dear", [tensor(module, rows)], timeout=500)) for _ in range(3)]
        stop.set()
        for thread in pressing:
            thread.join(10)
        assert {found for _, found in late} <= {status, at_once}, "it passed while they waited, or could be seen to pass when they came"
        assert all("deadline passed" in text or "timeout of 500 us passed" in text or "expected after" in text for text, _ in late), late
        assert client.infer("dear", [tensor(module, rows)], timeout=10_000_000).as_numpy("Y") is not None


def executions(client: Any, module: ModuleType) -> int:
    told = client.get_inference_statistics("linear")
    return int(told["model_stats"][0]["execution_count"] if module is triton_http else told.model_stats[0].execution_count)


@pytest.mark.parametrize("module", DOORS)
def test_parameters_without_effect_pass_and_wrong_ones_are_refused(
    module: ModuleType, server: Served, rows: np.ndarray, expected: np.ndarray
) -> None:
    with module.InferenceServerClient(server.target) as client:
        for more in (
            {"sequence_id": 7, "sequence_start": True, "sequence_end": True},
            {"sequence_id": "seven"},
            {"priority": 3},
            {"parameters": {"mine": "x"}},
        ):
            result = client.infer("linear", [tensor(module, rows)], **more)
            assert np.allclose(result.as_numpy("scores"), expected, atol=1e-5)
        assert "reserved" in refusal(lambda: client.infer("linear", [tensor(module, rows)], parameters={"triton_mine": 1}))[0]


@pytest.mark.parametrize("module", DOORS)
def test_the_largest_batch_is_told_as_it_is(module: ModuleType, serve: Callable[..., Served], home: Any) -> None:
    small = serve("linear", "--settings", str(written(home)))
    with module.InferenceServerClient(small.target) as client:
        config = client.get_model_config("linear") if module is triton_http else client.get_model_config("linear", as_json=True)["config"]
        assert config["max_batch_size"] == 7
        assert client.infer("linear", [tensor(module, np.zeros((7, 4), np.float32))]).as_numpy("best").shape == (7,)
        text, _ = refusal(lambda: client.infer("linear", [tensor(module, np.zeros((8, 4), np.float32))]))
        assert text == "[request id: <id_unknown>] inference request batch-size must be <= 7 for 'linear'"


def written(home: Any) -> Any:
    path = home.parent / "seven.toml"
    path.write_text("max_rows = 7\n")
    return path


ERRORS: dict[str, tuple[Callable[[Any, ModuleType, np.ndarray], object], str, tuple[str, str]]] = {
    "unknown model": (lambda c, m, rows: c.infer("irs", [tensor(m, rows)]), "Request for unknown model: 'irs' is not found", ("404", "StatusCode.NOT_FOUND")),
    "unknown version": (lambda c, m, rows: c.infer("linear", [tensor(m, rows)], model_version="9"), "Request for unknown model: 'linear' version 9 is not found", ("404", "StatusCode.NOT_FOUND")),
    "metadata": (lambda c, m, rows: c.get_model_metadata("irs"), "Request for unknown model: 'irs' is not found", ("404", "StatusCode.NOT_FOUND")),
    "config": (lambda c, m, rows: c.get_model_config("irs"), "Request for unknown model: 'irs' is not found", ("404", "StatusCode.NOT_FOUND")),
    "statistics": (lambda c, m, rows: c.get_inference_statistics("irs"), "Request for unknown model: 'irs' is not found", ("404", "StatusCode.NOT_FOUND")),
    "unknown input": (lambda c, m, rows: c.infer("linear", [tensor(m, rows, name="Z")]), "[request id: <id_unknown>] unexpected inference input 'Z' for model 'linear'", ("400", "StatusCode.INVALID_ARGUMENT")),
    "shape": (lambda c, m, rows: c.infer("linear", [tensor(m, rows[:, :3])], request_id="7"), "[request id: 7] unexpected shape for input 'X' for model 'linear'. Expected [-1,4], got [5,3]. NOTE: Setting a non-zero max_batch_size", ("400", "StatusCode.INVALID_ARGUMENT")),
    "no input": (lambda c, m, rows: c.infer("linear", []), "[request id: <id_unknown>] expected 1 inputs but got 0 inputs for model 'linear'. Got input(s) [], but missing required input(s) ['X']. Please provide all required input(s).", ("400", "StatusCode.INVALID_ARGUMENT")),
    "twice": (lambda c, m, rows: c.infer("linear", [tensor(m, rows), tensor(m, rows)]), "$.inputs[1]: input 'X' is given twice", ("400", "StatusCode.INVALID_ARGUMENT")),
    "unknown output": (lambda c, m, rows: c.infer("linear", [tensor(m, rows)], outputs=[m.InferRequestedOutput("none")]), "unexpected output 'none'", ("400", "StatusCode.INVALID_ARGUMENT")),
    "size": (lambda c, m, rows: c.infer("linear", [cut(m, rows)]), "input byte size mismatch for input 'X' for model 'linear'. Expected 80, got 64", ("400", "StatusCode.INVALID_ARGUMENT")),
    "classes of text": (lambda c, m, rows: c.infer("words", [tensor(m, np.array([["a"]], object), "text", "BYTES")], outputs=[m.InferRequestedOutput("same", class_count=1)]), "classification of output 'same': its values are texts, which have no order", ("400", "StatusCode.INVALID_ARGUMENT")),
    "load": (lambda c, m, rows: c.load_model("none"), "there is no model 'none'", ("404", "StatusCode.NOT_FOUND")),
    "load of a file": (lambda c, m, rows: c.load_model("linear", config="{}", files={"file:1/model.onnx": b"x"}), "a model is loaded from the store: the parameter", ("501", "StatusCode.UNIMPLEMENTED")),
    "unload": (lambda c, m, rows: c.unload_model("none"), "failed to unload 'none', no version is available", ("404", "StatusCode.NOT_FOUND")),
}  # fmt: skip


def cut(module: ModuleType, rows: np.ndarray) -> Any:
    given = tensor(module, rows[:4])
    given.set_shape([5, 4])
    return given


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_said_alike_at_both_doors(case: str, server: Served, rows: np.ndarray) -> None:
    call, text, statuses = ERRORS[case]
    said = []
    for module, status in zip(DOORS, statuses, strict=True):
        with module.InferenceServerClient(server.target) as client:
            message, found = refusal(lambda: call(client, module, rows))  # noqa: B023  # called at once
            assert message.startswith(text)
            assert found == status
            said.append(message)
    assert said[0] == said[1]


def test_clients_with_a_key_ask_for_models_and_those_without_learn_nothing(
    serve: Callable[..., Served], tmp_path: Path, rows: np.ndarray
) -> None:
    (tmp_path / "keys").write_text("team:" + "k" * 32)
    guarded = serve("linear", "--api-key-file", str(tmp_path / "keys"))
    key = {"authorization": "Bearer " + "k" * 32}  # copied each time: the HTTP client puts headers of its own into it
    with triton_http.InferenceServerClient(guarded.target) as http, triton_grpc.InferenceServerClient(guarded.target) as grpc:
        for client, module in ((http, triton_http), (grpc, triton_grpc)):
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("linear", headers=dict(key))
            assert client.is_model_ready("linear", "1", headers=dict(key))
            assert not client.is_model_ready("none", headers=dict(key))
            assert client.infer("linear", [tensor(module, rows)], headers=dict(key)).as_numpy("best") is not None
            metadata, config = partial(client.get_model_metadata, headers=dict(key)), partial(client.get_model_config, headers=dict(key))
            assert metadata("linear")
            assert config("linear")
        assert http.is_model_ready("linear") is http.is_model_ready("none") is False
        assert refusal(lambda: grpc.is_model_ready("linear")) == refusal(lambda: grpc.is_model_ready("none"))
        assert refusal(lambda: grpc.is_model_ready("linear"))[1] == "StatusCode.UNAUTHENTICATED"

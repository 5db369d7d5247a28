"""What ONNX Runtime's own profiler tells of a variant: every operator of the graph that it really runs, with times, shapes and bytes. Called by `optimization`."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import msgspec

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

import onnxruntime as ort

from aweigh.core.errors import InternalError
from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensors
from aweigh.runtimes.onnxruntime import adapted, open_native

WARM_CALLS: Final = 3
_MOST_CALLS: Final = 5000
_KERNEL: Final = "_kernel_time"
Shapes = tuple[tuple[int, ...], ...]


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the optimised graph. Times in microseconds; shapes are those of the call that was profiled."""

    name: str
    kind: str
    provider: str
    calls_us: tuple[float, ...]
    """One time for each call."""
    inputs: Shapes
    """Weights among them."""
    outputs: Shapes
    datatype: str
    """Of the first input, as ONNX calls it: float, int8, …"""
    weight_bytes: int
    moved_bytes: int
    """Read and written: weights, inputs and outputs."""
    output_bytes: int


class Profiled(msgspec.Struct, frozen=True, kw_only=True):
    """All operators in the order they ran; `calls_us` are whole calls, `trace` the profiler's own file, for chrome://tracing or Perfetto."""

    operators: tuple[Operator, ...]
    calls_us: tuple[float, ...]
    trace: bytes


def profile_variant(
    variant: Variant, signature: Signature, path: Callable[[str], Path], inputs: Tensors, *, session_threads: int, seconds: float
) -> Profiled:
    """Call the variant again and again for so long, once warm. `signature` and `inputs` are the runtime's own. Raises as loading and running do."""
    with tempfile.TemporaryDirectory(prefix="aweigh-profile-") as folder:
        trace = _run(variant, signature, path, inputs, session_threads=session_threads, prefix=f"{folder}/timed", seconds=seconds)
        # packed weights are no inputs any more, so that their shapes are told by a session that packs none
        whole = _run(variant, signature, path, inputs, session_threads=session_threads, prefix=f"{folder}/shapes", seconds=None)
    timed, shapes = _events(trace), {_key(event): event for event in _events(whole) if event.get("cat") == "Node"}
    calls = _calls(timed)
    found: dict[str, list[dict[str, Any]]] = {}
    for call in calls:
        for event in call:
            found.setdefault(_key(event), []).append(event)
    return Profiled(
        operators=tuple(_operator(events, shapes.get(key, events[0])) for key, events in found.items()),
        calls_us=tuple(_whole_calls(timed)),
        trace=trace,
    )


def _run(
    variant: Variant,
    signature: Signature,
    path: Callable[[str], Path],
    inputs: Tensors,
    *,
    session_threads: int,
    prefix: str,
    seconds: float | None,
) -> bytes:
    """The profiler's file of calls for so many seconds, or of one call without packed weights."""

    def prepare(options: ort.SessionOptions) -> None:
        options.enable_profiling = True
        options.profile_file_prefix = prefix
        if seconds is None:
            options.add_session_config_entry("session.disable_prepacking", "1")

    native = open_native(variant, path, session_threads=session_threads, prepare=prepare)
    session = adapted(native, variant, signature)
    try:
        began = perf_counter()
        for done in range(1 if seconds is None else _MOST_CALLS):
            session.run(inputs)
            if done == WARM_CALLS:
                began = perf_counter()
            if done > WARM_CALLS and seconds is not None and perf_counter() - began > seconds:
                break
        return Path(native.end_profiling()).read_bytes()
    finally:
        session.close()


def _events(trace: bytes) -> list[dict[str, Any]]:
    try:
        return list(json.loads(trace))
    except ValueError as error:  # ONNX Runtime does not escape every name
        raise InternalError(f"ONNX Runtime's profile cannot be read: {error}") from error


def _key(event: dict[str, Any]) -> str:
    return f"{event['args'].get('node_index')} {event['name']}"


def _calls(events: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The kernels of each call after those that warm up. A call's own event comes after those of its kernels."""
    calls: list[list[dict[str, Any]]] = [[]]
    for event in events:
        if event.get("name") == "model_run":
            calls.append([])
        elif event.get("cat") == "Node" and str(event["name"]).endswith(_KERNEL):
            calls[-1].append(event)
    return [call for call in calls[WARM_CALLS:] if call]


def _whole_calls(events: Sequence[dict[str, Any]]) -> list[float]:
    return [float(event["dur"]) for event in events if event.get("name") == "model_run"][WARM_CALLS:]


def _operator(events: Sequence[dict[str, Any]], shaped: dict[str, Any]) -> Operator:
    args = shaped["args"]
    inputs, outputs = args.get("input_type_shape", []), args.get("output_type_shape", [])
    weights, taken, given = (int(args.get(f"{what}_size", 0)) for what in ("parameter", "activation", "output"))
    return Operator(
        name=str(events[0]["name"]).removesuffix(_KERNEL),
        kind=str(events[0]["args"].get("op_name", "")),
        provider=str(events[0]["args"].get("provider", "")),
        calls_us=tuple(float(event["dur"]) for event in events),
        inputs=_shapes(inputs),
        outputs=_shapes(outputs),
        datatype=next((kind for each in inputs for kind in each), ""),
        weight_bytes=weights,
        moved_bytes=weights + taken + given,
        output_bytes=given,
    )


def _shapes(said: Sequence[dict[str, Sequence[int]]]) -> Shapes:
    return tuple(tuple(int(size) for size in shape) for each in said for shape in each.values())

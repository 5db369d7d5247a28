"""The verb `profile`: where the time and the memory of a variant go, operator by operator, beside the least that this machine could take, and what to try."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from aweigh.core.errors import Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensors
from aweigh.optimization.arithmetic import operations
from aweigh.optimization.hints import hints_for
from aweigh.optimization.roofline import Roofline, measure_roofline
from aweigh.runtimes.onnxruntime_profile import Operator, Profiled, profile_variant

SECONDS: Final = 2.0
_RUNTIME: Final = "onnxruntime"
_FLOATS: Final = frozenset({"float"})
"""What the roofline of float32 speaks for."""


class OperatorTime(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the graph that runs, as it is after ONNX Runtime's own optimisations."""

    name: str
    kind: str
    provider: str
    time_us: float
    """Median of one call."""
    share: float
    """Of the time of all operators."""
    operations: float
    """Floating-point operations of one call; 0 where they are not known."""
    weight_bytes: int
    moved_bytes: int
    output_bytes: int
    least_us: float
    """What the roofline allows at best, and never more than it took; 0 where the roofline says nothing."""
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    datatype: str


class KindTime(msgspec.Struct, frozen=True, kw_only=True):
    """All operators of one kind together."""

    kind: str
    count: int
    time_us: float
    share: float
    weight_bytes: int
    output_bytes: int


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The report. Times in microseconds, of one call with `rows` rows."""

    variant: str
    runtime: str
    rows: int
    threads: int
    calls: int
    call_us: float
    """Median of a whole call in the runtime, the profiler's own cost included."""
    outside_us: float
    """What of it no operator took."""
    roofline: Roofline
    least_us: float
    operators: tuple[OperatorTime, ...]
    """In the order they run."""
    kinds: tuple[KindTime, ...]
    """Dearest first."""
    hints: tuple[str, ...]
    weight_bytes: int
    largest_output_bytes: int


def profile(
    variant: Variant,
    signature: Signature,
    path: Callable[[str], Path],
    inputs: Tensors,
    *,
    session_threads: int = 1,
    seconds: float = SECONDS,
    features: tuple[str, ...] = (),
    cores: int = 1,
) -> tuple[Profile, bytes]:
    """The report, and the profiler's own trace. `signature` and `inputs` are those of the runtime alone; `features` and `cores` are this machine's. Raises Unsupported for
    runtimes that tell no times of operators, and what loading and running raise."""
    if variant.runtime != _RUNTIME:
        raise Unsupported(
            f"variant '{variant.name}' is run by {variant.runtime}, which does not tell what its operators take",
            hint="profile a variant that ONNX Runtime runs: --variant NAME, as 'aweigh show' lists them; 'aweigh bench' times any server",
        )
    profiled = profile_variant(variant, signature, path, inputs, session_threads=session_threads, seconds=seconds)
    report = _report(variant, profiled, measure_roofline(session_threads), rows=signature.batch_size(inputs))
    return msgspec.structs.replace(report, hints=tuple(hints_for(report, features=features, cores=cores))), profiled.trace


def _report(variant: Variant, profiled: Profiled, roofline: Roofline, *, rows: int) -> Profile:
    total = sum(median(operator.calls_us) for operator in profiled.operators) or 1.0
    weights = sum(operator.weight_bytes for operator in profiled.operators)
    operators = tuple(_operator(operator, roofline, total, weights) for operator in profiled.operators)
    call_us = median(profiled.calls_us) if profiled.calls_us else 0.0
    return Profile(
        variant=variant.name,
        runtime=variant.runtime,
        rows=rows,
        threads=roofline.threads,
        calls=len(profiled.calls_us),
        call_us=call_us,
        outside_us=max(0.0, call_us - sum(operator.time_us for operator in operators)),
        roofline=roofline,
        least_us=sum(operator.least_us for operator in operators),
        operators=operators,
        kinds=tuple(_kinds(operators)),
        hints=(),
        weight_bytes=weights,
        largest_output_bytes=max((operator.output_bytes for operator in operators), default=0),
    )


def _operator(operator: Operator, roofline: Roofline, total_us: float, all_weights: int) -> OperatorTime:
    time_us = median(operator.calls_us)
    work = operations(operator)
    least_us = roofline.least_us(work, operator.moved_bytes, weight_bytes=operator.weight_bytes, all_weights=all_weights)
    return OperatorTime(
        name=operator.name,
        kind=operator.kind,
        provider=operator.provider,
        time_us=time_us,
        share=time_us / total_us,
        operations=work,
        weight_bytes=operator.weight_bytes,
        moved_bytes=operator.moved_bytes,
        output_bytes=operator.output_bytes,
        least_us=min(time_us, least_us) if operator.datatype in _FLOATS else 0.0,
        inputs=operator.inputs,
        outputs=operator.outputs,
        datatype=operator.datatype,
    )


def _kinds(operators: tuple[OperatorTime, ...]) -> list[KindTime]:
    kinds = dict.fromkeys(operator.kind for operator in operators)
    found = [
        KindTime(
            kind=kind,
            count=len(these),
            time_us=sum(operator.time_us for operator in these),
            share=sum(operator.share for operator in these),
            weight_bytes=sum(operator.weight_bytes for operator in these),
            output_bytes=sum(operator.output_bytes for operator in these),
        )
        for kind in kinds
        if (these := [operator for operator in operators if operator.kind == kind])
    ]
    return sorted(found, key=lambda one: -one.time_us)

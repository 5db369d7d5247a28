"""Each hint where it belongs, and none where nothing stands out."""

from typing import Any

import msgspec
import pytest

from aweigh.optimization.hints import hints_for
from aweigh.optimization.profile import KindTime, OperatorTime, Profile
from aweigh.optimization.roofline import Level, Roofline


def operator(kind: str, time_us: float, **more: Any) -> OperatorTime:
    given = {
        "operations": 0.0, "weight_bytes": 0, "moved_bytes": 0, "output_bytes": 0, "least_us": 0.0, "inputs": (), "outputs": (), "datatype": "float",
    }  # fmt: skip
    return OperatorTime(name=kind, kind=kind, provider="CPU", time_us=time_us, share=0.0, **{**given, **more})


def report(*operators: OperatorTime, outside_us: float = 0.0, threads: int = 1) -> Profile:
    total = sum(one.time_us for one in operators)
    shared = [(one, one.time_us / total) for one in operators]
    kinds = dict.fromkeys(one.kind for one in operators)
    return Profile(
        variant="onnx", runtime="onnxruntime", rows=1, threads=threads, calls=10, call_us=total + outside_us, outside_us=outside_us,
        roofline=Roofline(operations_s=1e11, bytes_s=1e10, threads=threads), least_us=0.0,
        operators=tuple(msgspec.structs.replace(one, share=share) for one, share in shared),
        kinds=tuple(
            KindTime(kind=kind, count=1, time_us=0.0, share=sum(share for one, share in shared if one.kind == kind), weight_bytes=0, output_bytes=0)
            for kind in kinds
        ),
        hints=(), weight_bytes=0, largest_output_bytes=0,
    )  # fmt: skip


def said(profile: Profile, *, features: tuple[str, ...] = (), cores: int = 1) -> str:
    return "\n".join(hints_for(profile, features=features, cores=cores))


def test_nothing_stands_out() -> None:
    assert said(report(operator("Softmax", 50), operator("LayerNormalization", 50))) == ""


@pytest.mark.parametrize(
    ("profile", "features", "cores", "text"),
    [
        (report(operator("Relu", 10), outside_us=40), (), 1, "80% of a call is spent outside its operators"),
        (report(operator("Transpose", 30), operator("Softmax", 70)), (), 1, "30% of the time is spent moving data (Transpose)"),
        (report(*[operator("Add", 2)] * 10), (), 1, "10 operators of 3 us or less make 100% of the time"),
        (report(operator("MatMul", 100)), ("avx512_vnni",), 1, "INT8 of matrix products is worth measuring; this processor multiplies 8-bit integers faster (avx512_vnni)"),
        (report(operator("MatMul", 100)), (), 1, "no fast 8-bit products"),
        (report(operator("Conv", 100)), ("avx512_vnni",), 1, "dynamic INT8 makes convolutions slower"),
        (report(operator("MatMul", 1000)), (), 4, "on one of 4 cores"),
        (report(operator("MatMul", 1000, weight_bytes=8_000_000, operations=4e6)), (), 1, "reading 8.0 MB of weights"),
        (report(operator("TreeEnsembleClassifier", 100)), (), 1, "trees take most of the time"),
    ],
    ids=["outside", "moving", "short", "products", "no instructions", "convolutions", "threads", "memory", "trees"],
)  # fmt: skip
def test_each(profile: Profile, features: tuple[str, ...], cores: int, text: str) -> None:
    assert text in said(profile, features=features, cores=cores)


def test_quantised_products_are_not_told_to_be_quantised() -> None:
    assert "INT8" not in said(report(operator("MatMulIntegerToFloat", 100, datatype="uint8")), features=("avx512_vnni",))


def test_weights_that_are_read_quicker_than_memory_are_not_what_takes_the_time() -> None:
    cached = report(operator("MatMul", 4, weight_bytes=262_144, operations=131_072))
    assert "of weights" not in said(cached)  # memory would take 26 us for them
    levels = (Level(size_bytes=1 << 20, bytes_s=1e11),)
    roofline = Roofline(operations_s=1e11, bytes_s=1e10, threads=1, levels=levels)
    assert "reading 0.3 MB of weights" in said(msgspec.structs.replace(cached, roofline=roofline, weight_bytes=262_144))
    assert "of weights" not in said(msgspec.structs.replace(cached, roofline=roofline, weight_bytes=1 << 22))  # no cache holds all of them


def test_what_is_outside_counts_before_products() -> None:
    assert "INT8" not in said(report(operator("MatMul", 10), outside_us=40), features=("avx512_vnni",))

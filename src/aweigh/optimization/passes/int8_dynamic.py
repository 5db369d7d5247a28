"""INT8 weights, and activations whose range is found anew in each call. For products of matrices; convolutions stay in float, because ONNX Runtime's
dynamic ones are many times slower.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from collections.abc import Sequence

from aweigh.optimization.passes.processors import saturates
from aweigh.optimization.passing import Choice, Declaration, Kind, Made, PassJob, Way


class Int8Dynamic:
    """By `onnxruntime.quantization.quantize_dynamic`."""

    declares = Declaration(name="int8-dynamic", kind=Kind.PRECISION, takes=("onnxruntime",), departs=True)

    def ways(self, job: PassJob) -> Sequence[Way]:
        seven = saturates(job.device)
        return [
            Way(name="per-channel", choices=_choices("int8", per_channel=True, reduce_range=seven)),
            Way(name="per-tensor", choices=_choices("uint8", per_channel=False, reduce_range=False)),
        ]

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.graphs.eight import dynamic

        return dynamic(job)


def _choices(weights: str, *, per_channel: bool, reduce_range: bool) -> dict[str, Choice]:
    return {"weights": weights, "per_channel": per_channel, "reduce_range": reduce_range}

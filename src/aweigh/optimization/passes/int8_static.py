"""INT8 weights and activations, with ranges found on calibration rows: what makes convolutions several times as fast. Layers that hurt stay in float.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from collections.abc import Sequence

from aweigh.core.errors import Unsupported
from aweigh.optimization.passes.processors import saturates
from aweigh.optimization.passing import Choice, Declaration, Kind, Made, Need, PassJob, Way


class Int8Static:
    """By `onnxruntime.quantization.quantize_static`, in the QDQ form."""

    declares = Declaration(
        name="int8-static", kind=Kind.PRECISION, takes=("onnxruntime",), needs=frozenset({Need.CALIBRATION}), departs=True
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        if not job.calibration:
            raise Unsupported("there are no calibration rows, from which the ranges of activations are taken")
        said: dict[str, Choice] = {"activations": "uint8", "per_channel": True, "reduce_range": saturates(job.device)}
        return [Way(name=method, choices={"method": method, **said}) for method in ("minmax", "percentile", "entropy")]

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.graphs.eight import static

        return static(job)

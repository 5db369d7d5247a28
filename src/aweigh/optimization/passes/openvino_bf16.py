"""OpenVINO with products in bfloat16: half the memory traffic and twice the products at a time, on processors that have the instructions.

Source: https://docs.openvino.ai/2026/openvino-workflow/running-inference/optimize-inference/precision-control.html
"""

from collections.abc import Sequence
from typing import Final

from aweigh.core.errors import Unsupported
from aweigh.optimization.passes.openvino_takes import check_takes
from aweigh.optimization.passes.processors import features
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way

_INSTRUCTIONS: Final = ("amx_bf16", "avx512_bf16")


class OpenVinoBf16:
    """The weights stay float32 in the file. Takes a quantised variant too: what stayed in float is then done in bfloat16."""

    declares = Declaration(
        name="openvino-bf16",
        kind=Kind.PRECISION,
        takes=("onnxruntime", "openvino"),
        goals=frozenset({"cpu", "latency", "throughput"}),
        departs=True,
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        check_takes(job)
        if not features(job.device).intersection(_INSTRUCTIONS):
            raise Unsupported(f"the processor has no instructions for bfloat16 ({' or '.join(_INSTRUCTIONS)}): it would compute in float32")
        if job.variant.options.get("inference_precision", "f32") != "f32":
            raise Unsupported("the variant computes in fewer bits already")
        return [Way(name="", choices={"inference_precision": "bf16"})]

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.irs.models import kept_options, made, read_model

        options = {**kept_options(job), **job.way.choices}
        precision = "bf16" if job.variant.precision in {"fp32", "native"} else job.variant.precision
        return made(read_model(job), job, precision, options=options)

"""BF16: the range of float32 in half its bits. On ARM by a switch of ONNX Runtime's products; on graphics cards in the graph; elsewhere its kernels are missing.

Source: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
"""

from collections.abc import Sequence
from typing import Final

from aweigh.optimization.passes.onnxruntime_session import installed_providers
from aweigh.optimization.passes.processors import features
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way

FASTMATH: Final = "config:mlas.enable_gemm_fastmath_arm64_bfloat16"


class Bf16:
    """In the graph, or by a switch where products of float32 can be computed in it."""

    declares = Declaration(
        name="bf16", kind=Kind.PRECISION, takes=("onnxruntime",), goals=frozenset({"cpu", "gpu", "latency", "throughput"}), departs=True
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        known = features(job.device)
        if "bf16" in known and any(name.startswith("asimd") for name in known):
            return [Way(name="fast-products", choices={FASTMATH: "1"})]
        if "cuda" in installed_providers():
            return [Way(name="cuda", choices={"providers": "cuda"})]
        return [Way(name="graph")]

    def make(self, job: PassJob) -> Made:
        if FASTMATH in job.way.choices:
            files = {path.rpartition("/")[2]: file for path, file in job.files.items()}
            options = {**job.variant.options, **job.way.choices}
            return Made(
                runtime=job.variant.runtime, precision="bfloat16", files=files, options=options, environment=job.variant.environment
            )
        from aweigh.optimization.graphs.halves import brain

        return brain(job)

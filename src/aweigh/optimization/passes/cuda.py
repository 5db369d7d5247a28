"""The same file on an NVIDIA GPU, by ONNX Runtime's CUDA provider. Halves are made of its floats by the pass that makes FP16, before.

Source: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
"""

from collections.abc import Sequence
from typing import Final

from aweigh.optimization.passes.graphics_needs import Graphics, check_graphics
from aweigh.optimization.passing import Declaration, Kind, Made, Need, PassJob, Way

_CUDA: Final = {"providers": "cuda"}


class Cuda:
    """Convolutions want their channels last on newer cards, so that is measured too."""

    declares = Declaration(
        name="cuda",
        kind=Kind.TUNE,
        takes=("onnxruntime",),
        needs=frozenset({Need.GPU}),
        goals=frozenset({"gpu", "latency", "throughput"}),
    )

    def __init__(self, graphics: Graphics | None = None) -> None:
        self._graphics = graphics or Graphics()

    def ways(self, job: PassJob) -> Sequence[Way]:
        check_graphics(job, "cuda", self._graphics)
        return [Way(name="", choices={**_CUDA}), Way(name="channels-last", choices={**_CUDA, "provider:prefer_nhwc": "1"})]

    def make(self, job: PassJob) -> Made:
        return Made(
            runtime=job.variant.runtime,
            precision=job.variant.precision,
            files={path.rpartition("/")[2]: file for path, file in job.files.items()},
            options={**job.variant.options, **job.way.choices},
            environment=job.variant.environment,
        )

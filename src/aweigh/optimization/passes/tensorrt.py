"""An engine that TensorRT builds for the very GPU that is here, by ONNX Runtime's provider: kernels chosen by timing them, in float32, halves, or floats of 8 bits.

Source: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
"""

import importlib.util
from collections.abc import Sequence
from typing import Final

from aweigh.optimization.passes.graphics_needs import Graphics, check_graphics
from aweigh.optimization.passing import Declaration, Kind, Made, Need, PassJob, Way

_EIGHT: Final = (8, 9)
"""The first generation of cards that multiplies floats of 8 bits."""

_LIBRARIES: Final = ("onnx", "sympy")
"""What rewrites the graph for them; it must be here, beside the ONNX Runtime that has the provider."""


class TensorRt:
    """Built once, minutes for a large model, and kept in the package; it runs on cards of the same generation alone."""

    declares = Declaration(
        name="tensorrt",
        kind=Kind.PRECISION,
        takes=("onnxruntime",),
        needs=frozenset({Need.GPU}),
        goals=frozenset({"gpu", "latency", "throughput"}),
        composes=False,
        departs=True,
    )

    def __init__(self, graphics: Graphics | None = None) -> None:
        self._graphics = graphics or Graphics()

    def ways(self, job: PassJob) -> Sequence[Way]:
        card = check_graphics(job, "tensorrt", self._graphics)
        ways = [Way(name="fp16", choices={"precision": "fp16"}), Way(name="fp32", choices={"precision": "fp32"})]
        if card.capability >= _EIGHT and job.calibration and all(map(importlib.util.find_spec, _LIBRARIES)):
            ways.insert(1, Way(name="fp8", choices={"precision": "fp8"}))
        return ways

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.engines import built

        return built(job)

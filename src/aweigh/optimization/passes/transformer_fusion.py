"""A transformer's blocks, each as one operator of ONNX Runtime's own: attention, GELU, normalisation with what is added before it.

What is fused hangs on how the graph was exported: eager attention by tracing gives most, later exporters give GELU and normalisation alone.
Source: https://onnxruntime.ai/docs/performance/transformers-optimization.html
"""

from collections.abc import Sequence

from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way


class TransformerFusion:
    """By `onnxruntime.transformers.optimizer`."""

    declares = Declaration(name="transformer-fusion", kind=Kind.REWRITE, takes=("onnxruntime",))

    def ways(self, job: PassJob) -> Sequence[Way]:
        return [Way(name="encoder", choices={"family": "bert"})]

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.graphs.rewriting import fuse

        return fuse(job)

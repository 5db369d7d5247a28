"""Quantisation-aware training of Keras 3 models: layers compute in eight bits, and the weights learn to live with that.

Source: Jacob et al., https://arxiv.org/abs/1712.05877
"""

from collections.abc import Sequence

from aweigh.core.protocols import Progress, quiet
from aweigh.optimization.passes.processors import saturates
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way
from aweigh.optimization.training.needs import NEEDS, check

_NEAR = 0.05


class KerasQat:
    """Dense layers and convolutions; weights by output channel, activations by tensor."""

    declares = Declaration(
        name="keras-qat", kind=Kind.TRAIN, takes=("onnxruntime", "tensorflow"), needs=NEEDS, composes=False, departs=True
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        check(job, keras=True)
        return [Way(name="", choices={"levels": 127 if saturates(job.device) else 255})]

    def make(self, job: PassJob, progress: Progress = quiet) -> Made:
        from aweigh.optimization.training.keras_run import live_keras, trained_keras, write_keras
        from aweigh.optimization.training.keras_weights import Rounded
        from aweigh.optimization.training.qdq_onnx import whole_biases, whole_weights
        from aweigh.optimization.training.written import made

        live = live_keras(job)
        treatment = Rounded(live, int(job.way.choices["levels"]))
        told = trained_keras(job, live, treatment, progress=progress)
        treatment.hold()
        file = write_keras(job, live, _NEAR)
        whole = whole_weights(file)
        whole_biases(file)
        note = f"{whole} of {treatment.count} layers in eight bits, activations up to {job.way.choices['levels']}"
        return made(job, file, note, told, precision="int8")

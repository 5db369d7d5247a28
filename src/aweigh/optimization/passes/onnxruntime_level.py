"""How much ONNX Runtime rewrites the graph before it runs it: more is not always faster, so each level is measured."""

from collections.abc import Sequence

from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way


class OnnxRuntimeLevel:
    """The variant with another `graph_optimization_level`."""

    declares = Declaration(name="onnxruntime-level", kind=Kind.TUNE, takes=("onnxruntime",))

    def ways(self, job: PassJob) -> Sequence[Way]:
        now = job.variant.options.get("graph_optimization_level", "all")
        return [Way(name=level, choices={"graph_optimization_level": level}) for level in ("basic", "extended", "all") if level != now]

    def make(self, job: PassJob) -> Made:
        return Made(
            runtime=job.variant.runtime,
            precision=job.variant.precision,
            files={path.rpartition("/")[2]: file for path, file in job.files.items()},
            options={**job.variant.options, **job.way.choices},
            environment=job.variant.environment,
        )

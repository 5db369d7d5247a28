"""Trees run by the library that grew them, where the package has them as ONNX alone: XGBoost's and CatBoost's own code is quicker on batches, ONNX Runtime on single rows."""

from collections.abc import Sequence

from aweigh.core.errors import Unsupported
from aweigh.core.versions import requirements
from aweigh.optimization.passing import Declaration, Kind, Made, Need, PassJob, Way
from aweigh.optimization.sources import check_source, format_of, written

_LIBRARIES = {"xgboost": ("xgboost-cpu", "xgboost"), "lightgbm": ("lightgbm",), "catboost": ("catboost",)}


class NativeTrees:
    """The model as the library itself writes it anew, from the file that was given as the source."""

    declares = Declaration(
        name="native-trees",
        kind=Kind.REWRITE,
        takes=("onnxruntime",),
        needs=frozenset({Need.SOURCE}),
        goals=frozenset({"cpu", "throughput", "latency"}),
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        check_source(job, _LIBRARIES, "a model file of XGBoost, LightGBM or CatBoost")
        if job.signature.with_role("label") is not None and not job.signature.labels:
            raise Unsupported("the package answers labels and does not say which there are", hint="pack the library's own file")
        return [Way(name="")]

    def make(self, job: PassJob) -> Made:
        library, _ = format_of(job)
        found = written(job, library)
        return Made(
            runtime=library,
            precision="native",
            files={name: str(file) for name, file in found.files.items()},
            options=dict(found.options),
            environment=requirements((*_LIBRARIES[library], "numpy")),
        )

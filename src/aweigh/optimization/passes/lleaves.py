"""A LightGBM model compiled for this processor by lleaves: the same answers, batches several times as fast. The file stays the text, so it travels.

Source: https://lleaves.readthedocs.io
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from aweigh.core.plugins import load
from aweigh.core.protocols import Runtime
from aweigh.core.versions import requirements
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way


class Lleaves:
    """The text as it is, run by the runtime `lleaves`. What is compiled here is found again when the variant is loaded."""

    declares = Declaration(
        name="lleaves", kind=Kind.REWRITE, takes=("lightgbm",), goals=frozenset({"cpu", "throughput", "latency"}), composes=False
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        return [Way(name="")]

    def make(self, job: PassJob) -> Made:
        made = Made(
            runtime="lleaves",
            precision=job.variant.precision,
            files={path.rpartition("/")[2]: file for path, file in job.files.items()},
            options=dict(job.variant.options),
            environment=requirements(("lleaves", "numpy")),
        )
        runtime = load("runtime", "lleaves")
        session = cast("Callable[[], Runtime]", runtime)().load(job.variant, job.signature, lambda file: Path(job.files[file]))
        session.close()
        return made

"""How ONNX Runtime runs the same file: threads inside one call, memory kept between calls, numbers next to zero, other execution providers.

Source: https://onnxruntime.ai/docs/performance/tune-performance/threading.html
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from aweigh.core import plugins
from aweigh.core.errors import Unsupported
from aweigh.optimization.passing import Choice, Declaration, Kind, Made, PassJob, Way

_THREADS: Final = "intra_op_threads"
_SPINNING: Final = "config:session.intra_op.allow_spinning"
_FLUSH: Final = "config:session.set_denormal_as_zero"
_ARENA: Final = "arena"
_PROVIDERS: Final = "providers"
_OWN_PASSES: Final = frozenset({"cuda", "tensorrt"})
_SMALL_BYTES: Final = 1024 * 1024
"""Below it the runtime keeps no memory between calls unless it is told to."""


class OnnxRuntimeSession:
    """The variant with other options of its session."""

    declares = Declaration(
        name="onnxruntime-session",
        kind=Kind.TUNE,
        takes=("onnxruntime",),
        goals=frozenset({"cpu", "gpu", "latency", "throughput", "edge"}),
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        now = job.variant.options
        found = [
            *(
                Way(name=f"provider-{name}", choices={_PROVIDERS: name})
                for name in installed_providers()
                if _PROVIDERS not in now and name not in _OWN_PASSES
            ),
            *_threads(job.device.threads),
            Way(name="arena" if _small(job) else "no-arena", choices={_ARENA: _small(job)}),
            Way(name="flush-denormals", choices={_FLUSH: "1"}),
        ]
        left = [way for way in found if not all(now.get(name) == value for name, value in way.choices.items()) and not _undoes(way, now)]
        if not left:
            raise Unsupported("the variant's session has all of these options already")
        return left

    def make(self, job: PassJob) -> Made:
        return Made(
            runtime=job.variant.runtime,
            precision=job.variant.precision,
            files={path.rpartition("/")[2]: file for path, file in job.files.items()},
            options={**job.variant.options, **job.way.choices},
            environment=job.variant.environment,
        )


def installed_providers() -> list[str]:
    """Execution providers that the installed ONNX Runtime has, besides the processor's own."""
    runtime = cast("Any", plugins.load("runtime", "onnxruntime"))
    return [name for name, (there, _) in runtime.providers().items() if there and name != "cpu"]


def _threads(most: int) -> list[Way]:
    """All that the device has, also with threads that wait by turning, which takes their cores from others."""
    if most < 2:
        return []
    return [
        Way(name=f"threads-{most}", choices={_THREADS: most}),
        Way(name=f"threads-{most}-spinning", choices={_THREADS: most, _SPINNING: "1"}),
    ]


def _small(job: PassJob) -> bool:
    return Path(job.files[job.variant.files[0]]).stat().st_size < _SMALL_BYTES


def _undoes(way: Way, now: dict[str, Choice]) -> bool:
    """Whether an earlier choice of this pass would be taken back."""
    return any(name in now and name in {_ARENA, _FLUSH, _THREADS} for name in way.choices)

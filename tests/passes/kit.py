"""A pass run as the search runs it: its ways, one of them in a child of the environment that has its libraries, and what came of it loaded and asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from aweigh.core.package import Variant
from aweigh.core.settings import Settings
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensorfile import write_tensors
from aweigh.core.tensors import Datatype
from aweigh.isolate import Caps, Environments
from aweigh.optimization import making
from aweigh.optimization.passing import Made, PassJob, Way
from aweigh.runtimes import load_session

LIMIT_S = 240.0
MEMORY_BYTES = 12 * 1024**3


def environments() -> Environments:
    """The user's own, so that gigabytes are installed once."""
    return Environments(Settings().environments_folder)


def signature_of(inputs: Mapping[str, Sequence[int | str]], outputs: Mapping[str, Sequence[int | str]], **more: Any) -> Signature:
    """Of float32 tensors whose first axis is the batch."""
    return Signature(
        inputs=tuple(TensorSpec(name=name, datatype=Datatype.FP32, shape=(BATCH, *shape)) for name, shape in inputs.items()),
        outputs=tuple(TensorSpec(name=name, datatype=Datatype.FP32, shape=(BATCH, *shape)) for name, shape in outputs.items()),
        **more,
    )


def write_calibration(path: Path, inputs: Mapping[str, np.ndarray[Any, Any]], outputs: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """Rows and what the source answers to them, as a pass is given them."""
    tensors = {f"input/{name}": (Datatype.FP32, tensor) for name, tensor in inputs.items()}
    tensors |= {f"output/{name}": (Datatype.FP32, tensor) for name, tensor in outputs.items()}
    path.write_bytes(write_tensors(tensors))
    return str(path)


def make_pass(name: str, job: PassJob, way: str | None = None) -> Made:
    """The first way, or the one that is named. Raises what the pass raises."""
    ways = making.ways_of(name, job)
    chosen: Way = next(each for each in ways if way is None or each.name == way)
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    caps = Caps(memory_bytes=MEMORY_BYTES, timeout_s=LIMIT_S)
    return making.make_pass(name, msgspec.structs.replace(job, way=chosen), making.Shop(environments=environments(), caps=caps))


def answers(made: Made, signature: Signature, inputs: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """What the variant that was made answers, loaded as a server loads it."""
    variant = Variant(
        name="made",
        runtime=made.runtime,
        precision=made.precision,
        files=tuple(made.files),
        options=made.options,
        environment=made.environment,
    )
    session = load_session(variant, signature, lambda path: Path(made.files[path]), environments=environments())
    try:
        return list(session.run(dict(inputs)))
    finally:
        session.close()

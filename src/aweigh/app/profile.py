"""Profiling: a variant of a package, asked with rows of its golden set or with a person's, operator by operator. For `aweigh profile`."""

from pathlib import Path

import msgspec
import numpy as np

from aweigh.app.models import model_to_load
from aweigh.app.rows import Rows
from aweigh.app.tables import write_whole
from aweigh.core.errors import FileMissing, InvalidInput, Unsupported
from aweigh.core.golden import read_golden
from aweigh.core.machine import machine
from aweigh.core.pipeline import PIPELINE_RUNTIME
from aweigh.core.protocols import PackageHandle, Progress, quiet
from aweigh.core.settings import Settings
from aweigh.core.tensors import Tensor
from aweigh.engine.variants import choose_variant, environments_of
from aweigh.optimization.inside import inside_step
from aweigh.optimization.profile import Profile, profile

_MOST_ROWS = 100_000


class ModelProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A profile, of which package, on which machine."""

    model: str
    digest: str
    data: str
    machine: str
    profile: Profile


def profile_model(
    settings: Settings,
    model: str,
    data: object = None,
    *,
    variant: str = "",
    rows: int = 1,
    seconds: float = 2.0,
    trace: str = "",
    progress: Progress = quiet,
) -> ModelProfile:
    """Profile NAME, or a model file. `trace` is a file for the profiler's own events. Raises what finding and loading raise, InvalidInput, Unsupported, FileMissing."""
    if not 1 <= rows <= _MOST_ROWS:
        raise InvalidInput(f"{rows} rows: expected 1 to {_MOST_ROWS}")
    if trace and not Path(trace).absolute().parent.is_dir():
        raise FileMissing(f"there is no folder {Path(trace).absolute().parent}", hint="check --trace")
    handle = model_to_load(settings, model)
    manifest = handle.manifest
    chosen = choose_variant(manifest, variant, environments=environments_of(settings))
    if chosen.runtime == PIPELINE_RUNTIME:
        raise Unsupported(
            f"{handle.reference} is a pipeline, whose steps are packages of their own",
            hint="profile a step by its name; 'aweigh status' shows the time of each step of a served pipeline",
        )
    if manifest.hooks.pre:
        raise Unsupported(
            f"{handle.reference} has a `pre` hook, so its rows are not what its model takes",
            hint="pack the model without --pre, and profile that",
        )
    tensors, source = _rows(handle, data, rows)
    signature, inputs = inside_step(chosen, manifest.session_signature, handle.path, tensors)
    progress("profiling")
    here = machine()
    report, events = profile(
        chosen.bare(),
        signature,
        handle.path,
        inputs,
        session_threads=settings.session_threads or 1,
        seconds=seconds,
        features=here.features,
        cores=here.cores,
    )
    if trace:
        write_whole(Path(trace), events)
    place = f"{here.processor}, {here.cores} cores"
    return ModelProfile(model=str(handle.reference), digest=handle.digest, data=source, machine=place, profile=report)


def _rows(handle: PackageHandle, data: object, rows: int) -> tuple[dict[str, Tensor], str]:
    """So many rows, repeated where there are fewer; of a model without a batch axis, what there is."""
    signature = handle.manifest.session_signature
    if data is not None:
        given = Rows.read(data, signature)
        found, source = given.tensors(signature), given.source
    else:
        golden = read_golden(handle.manifest, handle.path)
        if not golden:
            raise InvalidInput(f"{handle.reference} has no golden set", hint="give DATA")
        found, source = golden[0].inputs, f"golden case '{golden[0].name}'"
    if not signature.batched:
        return dict(found), source
    count = signature.batch_size(found)
    if not count:
        raise InvalidInput(f"{source} has 0 rows", hint="one row is enough to profile with")
    at = np.resize(np.arange(count), rows)
    return {name: tensor[at] for name, tensor in found.items()}, source

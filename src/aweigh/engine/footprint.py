"""What loading a model takes of this machine's memory. Called on the thread that loads, around the load."""

import os
from collections.abc import Callable
from time import perf_counter

from aweigh.core.errors import AweighError
from aweigh.core.process_memory import memory_of
from aweigh.core.protocols import PackageHandle, WithParts
from aweigh.engine.model import PRIVATE, LoadedModel
from aweigh.engine.variants import choose_variant
from aweigh.isolate import Environments

Load = Callable[[PackageHandle], LoadedModel]


def load_weighed(load: Load, handle: PackageHandle) -> LoadedModel:
    """Load, and note what that took: what this process has grown by, and what the model's own processes take, memory that several share by its share.

    Never less than the model's files where they are this process's alone: memory that was freed before and is used again does not show as growth.
    """
    before = memory_of(os.getpid()).proportional
    try:
        model = load(handle)
    except AweighError as error:
        error.context.setdefault("version", str(handle.reference.version or 1))
        raise
    grown = max(0, memory_of(os.getpid()).proportional - before)
    apart = sum(memory_of(pid).proportional for pid in model.pids)
    alone = model.report.weights.startswith(PRIVATE.split()[0])
    model.weigh(max(grown + apart, file_bytes(handle) if alone else 0), perf_counter())
    return model


def file_bytes(handle: PackageHandle, variant: str = "", environments: Environments | None = None) -> int:
    """The size of the files of the variant that answers, and of a pipeline's parts; 0 where none can. A guess at the memory that it takes."""
    try:
        files = set(choose_variant(handle.manifest, variant, environments=environments).files)
        parts = (
            sum(file_bytes(handle.part(part), environments=environments) for part in handle.manifest.parts)
            if isinstance(handle, WithParts)
            else 0
        )
    except AweighError:  # loading says so
        return 0
    return parts + sum(file.size_bytes for file in handle.manifest.files if file.path in files)

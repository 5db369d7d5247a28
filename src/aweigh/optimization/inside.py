"""What a variant's runtime is given when its step is given rows: the step runs, and its model is not asked. Called before profiling."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Never, cast

from aweigh.core import plugins
from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensors
from aweigh.runtimes.load import Around


class _Taken(Exception):
    """The model would be asked now."""


class _Taking:
    """A session that keeps what it is asked first."""

    concurrent = True
    isolated = False

    def __init__(self) -> None:
        self.inputs: Tensors = {}

    def run(self, inputs: Tensors) -> Never:
        self.inputs = dict(inputs)
        raise _Taken

    def close(self) -> None:
        """Nothing is held."""


def inside_step(variant: Variant, signature: Signature, path: Callable[[str], Path], rows: Tensors) -> tuple[Signature, Tensors]:
    """The runtime's own signature and inputs; the first call's, where a step asks its model in parts. Raises InvalidInput, InvalidFile."""
    if variant.step is None:
        return signature, rows
    taking = _Taking()
    around = cast("Around", plugins.load("step", variant.step.kind))
    with contextlib.suppress(_Taken):
        around(taking, variant.step, signature, path).run(rows)
    return variant.bare_signature(signature), taking.inputs

"""The pseudo-runtime of pipelines, so that their packages name one like any other. What loads them is the engine: their parts are packages of the store."""

from collections.abc import Callable
from pathlib import Path

from aweigh.core.errors import Unsupported
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature


class PipelineRuntime:
    """Loads nothing by itself."""

    name = "pipeline"

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:  # of Runtime
        """Raises Unsupported."""
        raise Unsupported("a pipeline is not loaded from its own files alone", hint="load it from the store that has its parts")

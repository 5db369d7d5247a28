"""Who loads, proves and asks a package's variants for a search, each in a process of its own. Part of `app/optimize.py`."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from aweigh.app.optimize_data import Data
from aweigh.core.errors import ProofFailed, Unsupported
from aweigh.core.evidence import Evidence
from aweigh.core.golden import GoldenAnswers
from aweigh.core.package import Variant
from aweigh.core.pipeline import PIPELINE_RUNTIME
from aweigh.core.protocols import PackageHandle, Session
from aweigh.core.signature import Signature
from aweigh.core.tensorfile import write_tensors
from aweigh.core.tensors import Tensor
from aweigh.engine.variants import variants_in_order
from aweigh.isolate import Caps, Environments
from aweigh.optimization.candidates import Candidate, form_key
from aweigh.optimization.earlier import with_passes
from aweigh.optimization.inside import inside_step
from aweigh.optimization.timing import Batches
from aweigh.runtimes.homes import process_home
from aweigh.runtimes.process import ProcessRuntime
from aweigh.verify import prove_loaded

_ONNX: Final = "onnxruntime"
_LARGE_BATCHES: Final = (1000, 256, 64, 8)
_MAX_CALL_S: Final = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A package, and what its variants run in."""

    handle: PackageHandle
    environments: Environments
    caps: Caps
    data: Data

    @property
    def signature(self) -> Signature:
        """What a variant takes and gives, its step included."""
        return self.handle.manifest.session_signature

    def own_candidates(self) -> list[Candidate]:
        """The package's own variants that answer as the source does, were made by no search and can run here, the baseline first: that of ONNX Runtime where there is one. Raises Unsupported, ProofFailed."""
        manifest, reference = self.handle.manifest, self.handle.reference
        if any(variant.runtime == PIPELINE_RUNTIME for variant in manifest.variants):
            raise Unsupported(f"{reference} is a pipeline", hint="optimise the packages that it is made of, then pack it again")
        if manifest.hooks.pre or manifest.hooks.post:
            raise Unsupported(f"{reference} has hooks, around which nothing can be tried", hint="pack the model without --pre and --post")
        found = [variant for variant in variants_in_order(manifest, environments=self.environments) if not _of_a_search(variant)]
        if not found:
            raise ProofFailed("no variant of this package answers as its source", hint="pack the model again")
        found.sort(key=lambda variant: variant.runtime != _ONNX)
        return [self._own(variant) for variant in found]

    def earlier_candidates(self) -> list[Candidate]:
        """Those variants that earlier searches kept, within their budgets, and can run here. Raises as `own_candidates`."""
        variants = variants_in_order(self.handle.manifest, environments=self.environments)
        return [self._own(variant) for variant in variants if _of_a_search(variant)]

    def _own(self, variant: Variant) -> Candidate:
        files = {file: self.handle.path(file) for file in variant.files}
        own = Candidate(variant=variant, files=files, base=variant.name)
        if _of_a_search(variant):
            said = variant.departure or variant
            own = with_passes(dataclasses.replace(own, base=said.base, chain=said.passes, departs=variant.departure is not None))
        digests = {file.path: file.digest for file in self.handle.manifest.files}
        return dataclasses.replace(own, key=form_key(own, digests))

    def inner_rows(self, base: Candidate, rows: Mapping[str, Tensor]) -> tuple[Signature, dict[str, Tensor]]:
        """What runtimes take, inside the step of a variant, and these rows as they take them."""
        signature, tensors = inside_step(base.variant, self.signature, self.handle.path, dict(rows))
        return signature, dict(tensors)

    def load(self, variant: Variant, files: Mapping[str, Path]) -> Session:
        """A whole variant."""
        return self._load(variant, self.signature, files)

    def _load(self, variant: Variant, signature: Signature, files: Mapping[str, Path]) -> Session:
        home = process_home(self.handle.manifest, variant, self.environments)
        return ProcessRuntime(caps=self.caps, home=home).load(variant, signature, files.__getitem__)

    def prove(self, variant: Variant, signature: Signature, golden: Sequence[GoldenAnswers], files: Mapping[str, Path]) -> Evidence:
        """The evidence that it answers these cases as they say."""
        return prove_loaded(
            variant,
            signature,
            golden,
            partial(self.load, variant, files),
            path=files.__getitem__,
            strength=self.data.strength,
            data=self.data.source,
        )

    def write_calibration(self, place: Path, base: Candidate) -> str:
        """Write the rows for it as runtimes take them, with the baseline's answers; gives the digest of the file."""
        rows = self.data.tensors
        if self.signature.batched:
            rows = {name: tensor[self.data.split.calibration] for name, tensor in rows.items()}
        signature, inner = self.inner_rows(base, rows)
        session = self._load(base.variant.bare(), signature, base.files)
        try:
            outputs = session.run(inner)
        finally:
            session.close()
        named = {f"input/{spec.name}": (spec.datatype, inner[spec.name]) for spec in signature.inputs}
        named |= {f"output/{spec.name}": (spec.datatype, output) for spec, output in zip(signature.outputs, outputs, strict=True)}
        content = write_tensors(named)
        place.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def time_batches(self, base: Candidate, batch: int) -> Batches:
        """One row, and so many at once that a call takes no more than about a second, unless `batch` says how many."""
        if not self.signature.batched:
            return {1: self.inner_rows(base, self.data.tensors)[1]}
        count = self.signature.batch_size(self.data.tensors)
        evidence = base.variant.evidence
        one_us = evidence.figures.get("latency_us_b1", 1000.0) if evidence else 1000.0
        size = batch or next((size for size in _LARGE_BATCHES if one_us * size / 1e6 <= _MAX_CALL_S), _LARGE_BATCHES[-1])
        found = {}
        for rows in dict.fromkeys((1, size)):
            at = np.resize(np.arange(count), rows)
            found[rows] = self.inner_rows(base, {name: tensor[at] for name, tensor in self.data.tensors.items()})[1]
        return found


def _of_a_search(variant: Variant) -> bool:
    """Whether an earlier search made it, whatever it answers."""
    return variant.departure is not None or bool(variant.passes)

"""Packs a live estimator and asks its proven variant, as a server would."""

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aweigh.core.protocols import Draft
from aweigh.core.tensors import Tensor
from aweigh.packing import PackRequest, pack
from aweigh.packing.frameworks.sklearn_signature import sample_tensors, shaped_sample
from aweigh.packing.sample import read_sample
from aweigh.runtimes import load_session
from aweigh.verify import prove


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proven:
    """A packed estimator, its variant loaded."""

    draft: Draft
    model: Any
    ask: Callable[[Mapping[str, Tensor]], list[Tensor]]

    @property
    def runtime(self) -> str:
        return self.draft.manifest.variants[0].runtime

    @property
    def repairs(self) -> str:
        evidence = self.draft.manifest.variants[0].evidence
        return "\n".join(evidence.repairs) if evidence else ""

    def flips(self, rows: Any) -> int:
        """Rows whose label differs from the model's own; also holds the probabilities to it."""
        answers = self.ask(sample_tensors(shaped_sample(self.model, read_sample(rows))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = self.model.predict(rows)
            if len(answers) > 1 and hasattr(self.model, "predict_proba"):
                np.testing.assert_allclose(answers[1], self.model.predict_proba(rows), rtol=1e-6, atol=1e-9)
        return int((np.asarray(answers[0]) != expected).sum())


@pytest.fixture
def proven(tmp_path: Path) -> Iterator[Callable[..., Proven]]:
    """Pack a fitted model with a sample and load what was proven."""
    sessions = []

    def make(model: Any, sample: Any = None, **options: Any) -> Proven:
        draft = pack(model, PackRequest(prove=prove, sample=sample, work=tmp_path / f"work-{len(sessions)}", **options))
        variant = draft.manifest.variants[0]
        assert variant.evidence is not None
        assert variant.evidence.passed

        def place(name: str) -> Path:
            found = draft.files[name]
            assert isinstance(found, Path)
            return found

        session = load_session(variant, draft.manifest.session_signature, place)
        sessions.append(session)
        return Proven(draft=draft, model=model, ask=session.run)

    yield make
    for session in sessions:
        session.close()

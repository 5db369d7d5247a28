"""Whether requests of a model may run together: only where its evidence says that a row's answer does not depend on its batch."""

import dataclasses

from aweigh.core.evidence import BATCH_INVARIANCE, PADDING_INVARIANCE, Evidence
from aweigh.core.padding import check_padding
from aweigh.core.settings import Settings
from aweigh.core.signature import Signature


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BatchPolicy:
    """Rows that may run together, 0 for none, and why."""

    max_rows: int
    why: str
    padded: bool = False
    """Whether the evidence says that padding changes nothing either."""

    @property
    def allowed(self) -> bool:
        return self.max_rows > 1


def choose_batching(signature: Signature, evidence: Evidence | None, settings: Settings) -> BatchPolicy:
    """What signature, evidence and settings say together. Raises InvalidInput for a padding that cannot be used."""
    if settings.batching == "off":
        return BatchPolicy(max_rows=0, why="set by the batching setting")
    if settings.max_batch_rows < 2:
        return BatchPolicy(max_rows=0, why="max_batch_rows is less than two")
    if not signature.batched:
        return BatchPolicy(max_rows=0, why="the model has no batch axis that every input and output shares")
    if evidence is None or not evidence.passed:
        return BatchPolicy(max_rows=0, why="the variant has no evidence")
    if not evidence.batch_invariant:
        check = evidence.check(BATCH_INVARIANCE)
        reason = f": {check.note}" if check is not None and check.note else ""
        return BatchPolicy(max_rows=0, why=f"its evidence does not say that rows answer alike alone and together{reason}")
    check_padding(signature)
    padding = evidence.check(PADDING_INVARIANCE)
    return BatchPolicy(
        max_rows=settings.max_batch_rows,
        why="its evidence says that rows answer alike alone and together",
        padded=padding is not None and padding.passed,
    )

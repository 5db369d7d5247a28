"""Puts evidence into words, for refusals and for the list of what was tried. Called by the frameworks."""

from aweigh.core.evidence import NOT_GATING, Evidence


def why_failed(evidence: Evidence) -> str:
    """The failed checks of an evidence that gate, in words, with the worst input of each."""
    parts = []
    for check in evidence.checks:
        if not check.passed and check.name not in NOT_GATING:
            worst = check.worst[0] if check.worst else None
            where = f" (case '{worst.case}', row {worst.row}: {worst.output} is {worst.actual}, expected {worst.expected})" if worst else ""
            inputs = f", inputs {worst.inputs[:200]}" if worst else ""
            parts.append(f"{check.name} failed{': ' + check.note if check.note else ''}{where}{inputs}")
    return "; ".join(parts) or "the proof failed"

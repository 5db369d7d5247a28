"""Weights of fewer bits by NNCF."""

import logging
import math
from typing import Any, Final

import aweigh.optimization.irs.silence  # noqa: F401  # before nncf

import nncf  # isort: skip

from aweigh.core.errors import Unsupported
from aweigh.optimization.irs.models import made, read_model
from aweigh.optimization.passing import Made, PassJob

nncf.set_log_level(logging.ERROR)

_BITS: Final = {"i8": 8, "u8": 8, "i4": 4, "u4": 4}


def compressed(job: PassJob) -> Made:
    """Raises Unsupported where the graph has no weights of the kind that is compressed."""
    mode = nncf.CompressWeightsMode(str(job.way.choices["mode"]))
    said: dict[str, Any] = {"mode": mode}
    if "group" in job.way.choices:
        fallback = nncf.AdvancedCompressionParameters(group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST)
        said |= {"group_size": int(job.way.choices["group"]), "advanced_parameters": fallback}
    model = nncf.compress_weights(read_model(job), **said)
    held = _held(model)
    wanted = 4 if "group" in job.way.choices else 8
    if not held.get(wanted):
        raise Unsupported(f"the graph has no weights that NNCF takes to {wanted} bits")
    whole = sum(held.values())
    shares = ", ".join(f"{100 * count / whole:.0f}% of {bits} bits" for bits, count in sorted(held.items()))
    return made(model, job, f"int{wanted}", options={}, notes=(f"weights: {shares}",))


def _held(model: Any) -> dict[int, int]:
    """Bits of a weight -> how many weights have so many."""
    held: dict[int, int] = {}
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            kind = node.get_output_element_type(0)
            if kind.is_real() or kind.get_type_name() in _BITS:
                bits = _BITS.get(kind.get_type_name(), kind.bitwidth)
                held[bits] = held.get(bits, 0) + math.prod(node.get_output_shape(0))
    return held

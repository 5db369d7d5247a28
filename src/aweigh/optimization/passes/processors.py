"""What a processor means for a pass: which instructions it has."""

from typing import Final

from aweigh.core.machine import machine
from aweigh.optimization.passing import Device

_DOT_PRODUCTS: Final = frozenset({"amx_int8", "asimddp", "avx512_vnni", "avx_vnni", "i8mm"})


def features(device: Device) -> frozenset[str]:
    """Those of the device; of this machine where a job names none."""
    return frozenset(device.features or machine().features)


def saturates(device: Device) -> bool:
    """Whether products of eight bits are added up in sixteen, which overflow: x86 without VNNI. Weights of seven bits cannot."""
    known = features(device)
    return not known.intersection(_DOT_PRODUCTS) and not any(name.startswith("asimd") for name in known)

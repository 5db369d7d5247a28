"""NVIDIA's graphics cards, as the driver's own library names them: asked without any other library, and without starting work on them."""

import ctypes
import dataclasses
from collections.abc import Sequence
from typing import Final

_LIBRARY: Final = "libcuda.so.1"
_MAJOR: Final = 75
_MINOR: Final = 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the driver's interface."""
_NAME_BYTES: Final = 128


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """`capability` is the generation: (8, 9) and later multiply floats of 8 bits."""

    name: str
    capability: tuple[int, int]


def cards() -> Sequence[Card]:
    """Those that this process may use; none where there is no driver."""
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    found = (_card(driver, number) for number in range(count.value))
    return tuple(card for card in found if card is not None)


def _card(driver: ctypes.CDLL, number: int) -> Card | None:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    failed = (
        driver.cuDeviceGet(ctypes.byref(device), number)
        or driver.cuDeviceGetName(name, _NAME_BYTES, device)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
        or driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    )
    return None if failed else Card(name=name.value.decode(errors="replace"), capability=(major.value, minor.value))

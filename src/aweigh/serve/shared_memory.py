"""Tensors in memory that clients share: what an input's or an output's parameters say of it. The same words at both doors of Open Inference."""

from collections.abc import Mapping
from typing import Final, NamedTuple, NoReturn

from aweigh.core.errors import InvalidInput, NotFound, Unsupported
from aweigh.engine.regions import Regions

REGION: Final = "shared_memory_region"
_OFFSET: Final = "shared_memory_offset"
_SIZE: Final = "shared_memory_byte_size"


class Memory(NamedTuple):
    """Where a tensor lies: a part of a region."""

    region: str
    offset: int
    byte_size: int


def memory_of(parameters: Mapping[str, object] | None) -> Memory | None:
    """The part of a region that parameters name, if they do. Raises InvalidInput for values of another kind."""
    if not parameters or REGION not in parameters:
        return None
    region = parameters[REGION]
    if not isinstance(region, str):
        raise InvalidInput(f"Unable to parse '{REGION}': attempt to access JSON non-string as string")
    return Memory(region, unsigned(parameters, _OFFSET), unsigned(parameters, _SIZE))


def unsigned(parameters: Mapping[str, object], name: str) -> int:
    """A whole number of 0 or more, 0 where it is not given. Raises InvalidInput."""
    value = parameters.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidInput(f"Unable to parse '{name}': attempt to access JSON non-unsigned-integer as unsigned-integer")
    return value


def check_room(memory: Memory, name: str, size_bytes: int) -> None:
    """Raise InvalidInput where an output of that size does not fit."""
    if size_bytes > memory.byte_size:
        raise InvalidInput(
            f"shared memory size specified with the request for output '{name}' ({memory.byte_size} bytes) should be at least {size_bytes} "
            "bytes to hold the results"
        )


def write_output(regions: Regions, memory: Memory, name: str, raw: bytes | memoryview) -> None:
    """Put an output where its request wants it. Raises InvalidInput where it does not fit, NotFound for a region that is gone."""
    check_room(memory, name, len(raw))
    regions.place(*memory).write(raw)


def register_cuda(regions: Regions, name: str) -> NoReturn:
    """Memory of a GPU is not taken here: say so in Triton's words. Raises Unsupported, InvalidInput."""
    regions.check_allowed()
    if not name:
        raise InvalidInput("'region name' is necessary to register cuda shared memory region")
    raise Unsupported(f"failed to register CUDA shared memory region: '{name[:80]}', GPUs not supported", hint="use system shared memory")


def check_cuda(regions: Regions, name: str) -> None:
    """Raise Unsupported where there is no shared memory at all, NotFound for a region of a GPU: there are none."""
    regions.check_allowed()
    if name:
        raise NotFound(f"Unable to find cuda shared memory region: '{name[:80]}'", hint="this server takes none")

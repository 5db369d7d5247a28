"""Which target and size suits a model: every place that is known, sized for the stated load, priced, and ruled out by name where it cannot hold the model or the objective.

Pure arithmetic over facts; `app/advise.py` gathers them. What a place can hold lies in `places.json`, what it costs in `prices.json`.
"""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from aweigh.core.objective import Objective, duration_text
from aweigh.deploy.capacity import HEADROOM, Capacity
from aweigh.deploy.prices import SYSTEM_MIB, Cost, MachinePrice, Prices, Usage, monthly

_PLACES: Final = Path(__file__).with_name("places.json")
_SPARE: Final = 1.25
"""What is planned beyond the memory that was reckoned."""
_STEP_MIB: Final = 32
_IMAGE_MIB: Final = 300
"""Of the server and the libraries of one runtime, unpacked."""
_RUNNER_MIB: Final = 30
"""Of the runner with the library of one runtime, unpacked."""
_RUNNER_SENT_MIB: Final = 11
"""The same in an archive."""


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A target as a place to run: its limits. 0: none is known."""

    target: str
    mode: str = ""
    price: str = ""
    """The target whose price it has; empty: its own."""
    kind: Literal["use", "machines", "share"]
    says: str
    needs_image: bool = False
    asks: tuple[str, ...] = ()
    """Options that only the person knows: 'role=ARN'."""
    runner: bool = False
    """Whether it starts the runner, and not the whole server."""
    alone: bool = False
    """Whether an instance answers one request at a time."""
    zero: bool = False
    """Whether none runs while nobody asks."""
    only_zero: bool = False
    """Whether none can be kept ready."""
    kept: str = ""
    """The option by which instances are kept ready; empty: the scale."""
    at_once: str = ""
    """The option that says how many requests are answered at once, `most_at_once` at the most, where that is no scale."""
    most_at_once: int = 0
    machine: str = ""
    """The option that names the machine."""
    sets_memory: bool = False
    """Whether it has an option for memory."""
    least_mib: int = 0
    most_mib: int = 0
    sizes_mib: tuple[int, ...] = ()
    """Of memory, where there are no others."""
    room_mib: int = 0
    """Memory that it takes for itself."""
    vcpus: tuple[float, ...] = ()
    """Processors of an instance that may be; each goes with `vcpu_mib` of memory at the most."""
    vcpu_mib: int = 0
    most_archive_mib: int = 0
    """Of an archive, unpacked; what is larger goes as an image, where `most_image_mib` lets it."""
    most_sent_mib: int = 0
    """Of an archive that needs no bucket."""
    most_image_mib: int = 0
    core_mib: int = 0
    """Memory with which a whole core comes, where processors are dealt out by memory."""
    most_request_s: float = 0.0
    glibc: str = ""
    """Of its machines, where the package's libraries run on them and not in an image."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is to run."""

    model: str
    variant: str
    size_mib: float
    """Of the variant's files."""
    gpu: str = ""
    """The execution provider that needs a card; empty: none does."""
    glibc: str = ""
    """The oldest that its runtime's library takes; empty: not known."""
    no_runner: str = ""
    """Why the runner cannot start it; empty: it can."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks of it."""

    requests_per_second: float = 1.0
    """At the time when most is asked."""
    busy: float = 1.0
    """The part of the month in which so much is asked."""
    objective: Objective | None = None
    budget: float = 0.0
    """A month; 0: none was stated."""
    capacity: str = ""
    """The file that the capacity was read from; empty: it was reckoned."""


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One way to run it."""

    target: str
    mode: str
    how: str
    """'from zero', 'one kept ready', 'always running'."""
    size: str
    monthly: float | None
    currency: str
    suits: bool
    reasons: tuple[str, ...]
    """Why it suits; what it does."""
    against: tuple[str, ...]
    """What rules it out."""
    arithmetic: tuple[str, ...]
    command: str


def read_places() -> tuple[Place, ...]:
    """Every place that is known."""
    return msgspec.json.decode(_PLACES.read_bytes(), type=tuple[Place, ...])


def advise(subject: Subject, capacity: Capacity, wish: Wish, prices: Prices, places: Sequence[Place]) -> list[Option]:
    """Every way there is: those that suit first, the cheapest first."""
    options = [_option(place, subject, capacity, wish, prices, least=least) for place in places for least in _kept(place)]
    return sorted(options, key=lambda each: (not each.suits, each.monthly if each.monthly is not None else math.inf))


def _kept(place: Place) -> tuple[int, ...]:
    """How many instances are kept though nobody asks: what there is to choose from."""
    if not place.zero:
        return (1,)
    return (0,) if place.only_zero else (0, 1)


def _option(place: Place, subject: Subject, capacity: Capacity, wish: Wish, prices: Prices, *, least: int) -> Option:
    memory_mib, request_s = _sized(place, capacity, wish)
    usage = _usage(place, capacity, wish, memory_mib=memory_mib, request_s=request_s, least=least, gpu=bool(subject.gpu))
    price = prices.find(place.price or place.target, place.mode)
    cost = monthly(price, usage, prices.currency) if price else None
    against = [
        *_against(place, subject, wish, memory_mib=memory_mib, request_s=request_s, at_once=usage.instances),
        *_cold(place, capacity, wish, least),
    ]
    if cost is None:
        machine = isinstance(price, MachinePrice)
        against.append(_no_machine(usage) if machine else "what it costs is not in the table of prices")
    elif wish.budget and cost.amount > wish.budget:
        against.append(f"{cost.amount:.2f} {cost.currency} a month is more than the {wish.budget:g} of the budget")
    return Option(
        target=place.target,
        mode=place.mode,
        how=_how(place, least),
        size=cost.size if cost else f"{memory_mib} MiB",
        monthly=cost.amount if cost else None,
        currency=prices.currency,
        suits=not against,
        reasons=_reasons(place, capacity, usage, request_s, least),
        against=tuple(against),
        arithmetic=cost.lines if cost else (),
        command=_command(place, subject, wish, usage, memory_mib=memory_mib, cost=cost),
    )


def _how(place: Place, least: int) -> str:
    if not place.zero:
        return "always running"
    return "one kept ready" if least else "from zero"


def _sized(place: Place, capacity: Capacity, wish: Wish) -> tuple[int, float]:
    """Memory of one instance, and how long a request takes there: less memory may mean less of a processor."""
    needed = math.ceil(capacity.memory_mib * _SPARE / _STEP_MIB) * _STEP_MIB + place.room_mib
    memory_mib = next((size for size in place.sizes_mib if size >= needed), max(needed, place.least_mib))
    alone_s = capacity.latency_ms / 1000
    if not place.core_mib:
        return memory_mib, alone_s
    limit_s = wish.objective.limit_s if wish.objective else 0.0
    if place.sets_memory and limit_s and alone_s * place.core_mib / memory_mib > limit_s:
        memory_mib = max(memory_mib, min(place.core_mib, math.ceil(alone_s / limit_s * place.core_mib / 64) * 64))
    return memory_mib, alone_s * max(1.0, place.core_mib / memory_mib)


def _usage(place: Place, capacity: Capacity, wish: Wish, *, memory_mib: int, request_s: float, least: int, gpu: bool) -> Usage:
    cores = wish.requests_per_second / (capacity.requests_per_second * HEADROOM)
    if place.alone:
        cores = wish.requests_per_second * request_s / HEADROOM
    processors = next((each for each in place.vcpus if each * place.vcpu_mib >= memory_mib), 1.0)
    spare_mib = SYSTEM_MIB if place.kind == "machines" else 0
    return Usage(
        requests_per_second=wish.requests_per_second,
        busy=wish.busy,
        request_s=request_s,
        cores=cores * processors,  # which are paid for, though one answers: the memory is one process's
        instance_cores=processors,
        machine_cores=1.0 if place.machine else math.inf,  # one process runs on each
        instance_gib=(memory_mib + spare_mib) / 1024,
        least=least,
        gpu=gpu,
    )


def _against(place: Place, subject: Subject, wish: Wish, *, memory_mib: int, request_s: float, at_once: int) -> list[str]:
    """What rules the place out, whatever it costs."""
    found = []
    if place.runner and subject.no_runner:
        found.append(f"it starts the runner: {subject.no_runner}")
    if subject.gpu and place.kind != "machines":
        found.append(f"variant '{subject.variant}' runs on {subject.gpu}: no card is to be had there, or none whose price is known")
    if place.most_mib and memory_mib > place.most_mib:
        found.append(f"it takes {memory_mib} MiB of memory, of {place.most_mib} that there are")
    image_mib = subject.size_mib + _IMAGE_MIB
    if place.most_at_once and at_once > place.most_at_once:
        found.append(f"{at_once} requests are answered at once, of {place.most_at_once} that may be")
    if place.most_image_mib and image_mib > place.most_image_mib:
        found.append(f"image and model take {image_mib:.0f} MiB, of {place.most_image_mib} that may be")
    if place.most_request_s and request_s > place.most_request_s:
        found.append(f"a request takes {duration_text(request_s)}, of {duration_text(place.most_request_s)} that it may")
    if place.glibc and not _as_image(place, subject) and subject.glibc and _numbers(subject.glibc) > _numbers(place.glibc):
        found.append(f"its library needs glibc {subject.glibc}, its machines have {place.glibc}")
    if wish.objective and request_s > wish.objective.limit_s:
        found.append(f"one request alone takes {duration_text(request_s)}, more than {wish.objective}")
    return found


def _as_image(place: Place, subject: Subject) -> bool:
    return place.needs_image or bool(place.most_archive_mib and subject.size_mib + _RUNNER_MIB > place.most_archive_mib)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _cold(place: Place, capacity: Capacity, wish: Wish, least: int) -> list[str]:
    """Whether the first request after a quiet time waits longer than it may. Without quiet times instances stay."""
    if not place.zero or least or wish.objective is None or wish.busy >= 1:
        return []
    if capacity.start_s <= wish.objective.limit_s:
        return []
    return [f"after a quiet time the first request waits {duration_text(capacity.start_s)} for a start, more than {wish.objective}"]


def _no_machine(usage: Usage) -> str:
    card = " with a card" if usage.gpu else ""
    return f"no machine{card} of the table of prices has {usage.instance_gib:.1f} GiB"


def _reasons(place: Place, capacity: Capacity, usage: Usage, request_s: float, least: int) -> tuple[str, ...]:
    found = [place.says]
    if place.alone:
        found.append(
            f"{usage.instances} at once: {usage.requests_per_second:g} requests/s x {duration_text(request_s)}, {HEADROOM:.0%} used"
        )
    else:
        rate = capacity.requests_per_second
        found.append(
            f"{usage.cores / usage.instance_cores:.2g} cores: {usage.requests_per_second:g} of {rate:.0f} requests/s that a core answers, {HEADROOM:.0%} used"
        )
    if place.zero and not least:
        found.append(
            f"costs nothing while nobody asks; a start takes {duration_text(capacity.start_s)}, and what the cloud takes beside it"
        )
    return tuple(found)


def _command(place: Place, subject: Subject, wish: Wish, usage: Usage, *, memory_mib: int, cost: Cost | None) -> str:
    """What deploys just that: sized, scaled and kept ready as it was reckoned."""
    words = ["aweigh", "deploy", subject.model, "--to", place.target, "--variant", subject.variant]
    words += ["--load", f"{wish.requests_per_second:g}"]
    words += ["--objective", str(wish.objective)] if wish.objective else []
    words += ["--capacity", wish.capacity] if wish.capacity else []
    options = [f"mode={place.mode}"] if place.mode else []
    if place.kept:
        options += [f"{place.kept}={usage.least}"] if usage.least else []
    elif place.at_once:
        options.append(f"{place.at_once}={min(usage.instances, place.most_at_once)}")
    elif place.zero:
        words += ["--scale", f"{usage.least}..{usage.instances}"]
    if place.machine and cost is not None:
        words += ["--scale", str(cost.count)]
        options.append(f"{place.machine}={cost.machine}")
    options += [f"memory_mib={memory_mib}"] if place.sets_memory else []
    image = _as_image(place, subject)
    if image and not place.needs_image:
        options.append("package=image")
    elif place.most_sent_mib and subject.size_mib + _RUNNER_SENT_MIB > place.most_sent_mib:
        options.append("bucket=NAME")
    words += [word for option in (*options, *place.asks) for word in ("--set", option)]
    words += ["--image", "ADDRESS"] if image else []
    return shlex.join(words)

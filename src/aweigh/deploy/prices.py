"""What targets cost: a dated table in a data file, which a person may write over with one of their own, and the arithmetic of a month by it, shown.

Targets fill `Rendered.costs` by `cost_lines`; `advice.py` ranks by `monthly`. Free grants and discounts are left out, because they are of an account.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import FileMissing, InvalidFile
from aweigh.deploy.capacity import HEADROOM
from aweigh.deploy.target import DeployJob

HOURS_A_MONTH: Final = 730
SECONDS_A_MONTH: Final = HOURS_A_MONTH * 3600
SYSTEM_MIB: Final = 300
"""What a machine takes for itself."""
_TABLE: Final = Path(__file__).with_name("prices.json")
_MACHINE: Final = "machine"
_LIKE: Final = {
    **dict.fromkeys(
        ("docker", "compose", "podman", "systemd", "cloud-init", "runner", "tfserving", "torchserve", "triton", "mlflow"), _MACHINE
    ),
    **dict.fromkeys(("kserve", "ray"), "kubernetes"),
    "runner": _MACHINE,
}
"""Targets that cost what another does: a machine that one rents, a part of a cluster."""


class _Priced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="model"):
    target: str
    mode: str = ""
    """Where a target is billed in more than one way: 'serverless'."""
    region: str
    date: str
    """When the price was as it stands here."""
    source: str
    """Where it comes from, in words."""


class UsePrice(_Priced, tag="use", frozen=True, kw_only=True):
    """Requests, and the time in which they are answered."""

    per_million_requests: float = 0.0
    per_vcpu_second: float = 0.0
    per_gib_second: float = 0.0
    idle_per_vcpu_second: float = 0.0
    """Of an instance that is kept though nobody asks."""
    idle_per_gib_second: float = 0.0
    least_ms: float = 1.0
    """What a request, or an instance's busy time, is rounded up to."""
    shared: bool = False
    """Whether an instance answers several requests at once, whose time is then paid once."""


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One size that is for rent."""

    name: str
    vcpus: float
    memory_gib: float
    per_hour: float
    gpu: str = ""
    share: float = 1.0
    """Of its processors' time that may be used all day: of burstable machines less than all."""

    @property
    def cores(self) -> float:
        """What it may do all day."""
        return self.vcpus * self.share


class MachinePrice(_Priced, tag="machines", frozen=True, kw_only=True):
    """Whole machines by the hour."""

    machines: tuple[Machine, ...]


class SharePrice(_Priced, tag="share", frozen=True, kw_only=True):
    """A part of a cluster, by what is reserved."""

    per_vcpu_hour: float
    per_gib_hour: float


Price = UsePrice | MachinePrice | SharePrice


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format_version: int
    currency: str
    prices: tuple[Price, ...]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a target."""

    requests_per_second: float
    """At the time when most is asked."""
    busy: float = 1.0
    """The part of the month in which so much is asked; nothing in the rest."""
    request_s: float
    """How long one request keeps a core."""
    cores: float = 1.0
    """Of all instances together at that time, a quarter of one too."""
    instance_cores: float = 1.0
    machine_cores: float = math.inf
    """Of one machine, that what runs there uses."""
    instance_gib: float
    least: int = 0
    """Instances that are kept though nobody asks."""
    gpu: bool = False

    @property
    def requests(self) -> float:
        """In a month."""
        return self.requests_per_second * self.busy * SECONDS_A_MONTH

    @property
    def instances(self) -> int:
        """At the time when most is asked."""
        return max(1, self.least, math.ceil(self.cores / self.instance_cores - 1e-9))


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """A month, and how it was reckoned, line by line."""

    amount: float
    currency: str
    lines: tuple[str, ...]
    size: str
    """What is paid for: '2 × c6i.large'."""
    machine: str = ""
    """Its name, where it is machines; `count` of them."""
    count: int = 0
    price: Price


class Prices:
    """The table, with a person's own rows in place of it where there are some."""

    def __init__(self, prices: Sequence[Price], currency: str) -> None:
        self._rows = {(row.target, row.mode): row for row in prices}
        self.currency = currency

    def find(self, target: str, mode: str = "") -> Price | None:
        """The row of a target, else of what it costs the like of."""
        return self._rows.get((target, mode)) or self._rows.get((_LIKE.get(target, ""), mode))


def read_prices(own: Path | None = None) -> Prices:
    """The table that comes with aweigh; rows of a file of the same form take the places of its own. Raises FileMissing, InvalidFile."""
    table = _read(_TABLE)
    if own is None:
        return Prices(table.prices, table.currency)
    mine = _read(own)
    if mine.currency == table.currency:
        return Prices((*table.prices, *mine.prices), table.currency)
    return Prices(mine.prices, mine.currency)


def _read(path: Path) -> _Table:
    try:
        table = msgspec.json.decode(path.read_bytes(), type=_Table)
    except OSError as error:
        raise FileMissing(f"{path} cannot be read: {error.strerror}", hint="give a file of prices: docs/guides/advise.md") from error
    except msgspec.DecodeError as error:
        raise InvalidFile(f"{path} is no table of prices: {error}", hint="docs/guides/advise.md shows its form") from error
    if table.format_version != 1:
        raise InvalidFile(f"{path}: format_version {table.format_version}, of which 1 is read", hint="write it anew: docs/guides/advise.md")
    for row in table.prices:
        if wrong := _wrong(row):
            raise InvalidFile(f"{path}: the price of '{row.target}': {wrong}", hint="prices are numbers of 0 or more, sizes more than 0")
    return table


def _wrong(row: Price) -> str:
    amounts = {name: value for name, value in msgspec.structs.asdict(row).items() if isinstance(value, float)}
    if found := next((name for name, value in amounts.items() if not 0 <= value < math.inf), ""):
        return f"{found} is {amounts[found]}"
    if not isinstance(row, MachinePrice):
        return ""
    if not row.machines:
        return "it lists no machine"
    bad = next(
        (each.name for each in row.machines if not (each.vcpus > 0 < each.memory_gib and each.per_hour >= 0 and 0 < each.share <= 1)), ""
    )
    return f"the machine {bad!r} has sizes that cannot be" if bad else ""


def monthly(price: Price, usage: Usage, currency: str) -> Cost | None:
    """What a month costs; None where the table has no machine that is large enough."""
    if isinstance(price, UsePrice):
        return _by_use(price, usage, currency)
    if isinstance(price, SharePrice):
        return _by_share(price, usage, currency)
    return _by_machine(price, usage, currency)


def cost_lines(target: str, job: DeployJob, *, cores: float = 1.0, memory_mib: int = 0, mode: str = "") -> tuple[str, ...]:
    """For `Rendered.costs`: a month of what is rendered, at the load that was stated, else of a million requests.

    `cores` and `memory_mib` are of one instance; of less than a core, where a request has one to itself, it takes so much longer.
    """
    table = read_prices()
    price = table.find(target, mode)
    if price is None:
        return (f"what '{target}' costs is not in the table of prices",)
    stated = job.demand.requests_per_second
    alone = isinstance(price, UsePrice) and not price.shared
    rented = isinstance(price, MachinePrice)
    usage = Usage(
        requests_per_second=stated or 1e6 / SECONDS_A_MONTH,
        request_s=job.capacity.latency_ms / 1000 / (min(1.0, cores) if alone else 1.0),
        cores=stated / (job.capacity.requests_per_second * HEADROOM),
        instance_cores=cores,
        instance_gib=((memory_mib or job.capacity.memory_mib) + (SYSTEM_MIB if rented else 0)) / 1024,
        least=0 if rented else job.scale.least,  # what counts processes there, and not machines
    )
    cost = monthly(price, usage, table.currency)
    if cost is None:
        return (f"no machine in the table of prices has {usage.instance_gib:.1f} GiB",)
    load = f"{stated:g} requests/s all the time" if stated else "a million requests a month (say --load for yours)"
    return (f"about {cost.amount:.2f} {cost.currency} a month for {load}: {cost.size}", *cost.lines)


def machine_lines(target: str, machine: str, count: int, *, all_month: bool = True) -> tuple[str, ...]:
    """For `Rendered.costs`: machines of the size that is rendered, which run all month, or an hour of them where they end by themselves."""
    table = read_prices()
    price = table.find(target)
    sizes = {each.name: each for each in price.machines} if isinstance(price, MachinePrice) else {}
    found = sizes.get(machine)
    if not isinstance(price, MachinePrice) or found is None:
        return (f"what {count} x {machine} cost is not in the table of prices: look at the vendor's own",)
    hour = count * found.per_hour
    if not all_month:
        return (f"about {hour:.2f} {table.currency} for each hour that it runs: {count} x {machine} x {found.per_hour:g}", _said(price))
    month = _machines(price, found, count, table.currency)
    return (f"about {month.amount:.2f} {month.currency} a month, whatever is asked: {month.size}", *month.lines)


def _by_use(price: UsePrice, usage: Usage, currency: str) -> Cost:
    step_s = price.least_ms / 1000
    each_s = math.ceil(max(usage.request_s, 1e-9) / step_s - 1e-9) * step_s
    alone_s = usage.requests * each_s
    together_s = usage.instances * usage.busy * SECONDS_A_MONTH
    paid_s = min(alone_s, together_s) if price.shared else alone_s
    idle_s = max(0.0, usage.least * SECONDS_A_MONTH - paid_s)
    size = f"{usage.instance_cores:g} vCPU, {usage.instance_gib:g} GiB" if price.per_vcpu_second else f"{usage.instance_gib * 1024:.0f} MiB"
    lines = []
    total = 0.0
    for what, amount, unit_price, unit in (
        ("requests", usage.requests / 1e6, price.per_million_requests, "million"),
        ("processors while answering", paid_s * usage.instance_cores, price.per_vcpu_second, "vCPU-s"),
        ("memory while answering", paid_s * usage.instance_gib, price.per_gib_second, "GiB-s"),
        ("processors kept ready", idle_s * usage.instance_cores, price.idle_per_vcpu_second, "vCPU-s"),
        ("memory kept ready", idle_s * usage.instance_gib, price.idle_per_gib_second, "GiB-s"),
    ):
        if amount and unit_price:
            total += amount * unit_price
            lines.append(f"{what}: {_number(amount)} {unit} x {_plain(unit_price)} = {amount * unit_price:.2f} {currency}")
    return Cost(amount=total, currency=currency, lines=(*lines, _said(price)), size=size, price=price)


def _by_share(price: SharePrice, usage: Usage, currency: str) -> Cost:
    hours = _hours(usage)
    vcpus, gib = hours * usage.instance_cores, hours * usage.instance_gib
    total = vcpus * price.per_vcpu_hour + gib * price.per_gib_hour
    lines = (
        f"processors: {_number(vcpus)} vCPU-hours x {_plain(price.per_vcpu_hour)} = {vcpus * price.per_vcpu_hour:.2f} {currency}",
        f"memory: {_number(gib)} GiB-hours x {_plain(price.per_gib_hour)} = {gib * price.per_gib_hour:.2f} {currency}",
        _said(price),
    )
    size = f"{usage.instances} x {usage.instance_cores:g} vCPU, {usage.instance_gib:g} GiB"
    return Cost(amount=total, currency=currency, lines=lines, size=size, price=price)


def _hours(usage: Usage) -> float:
    """Of all instances: as many as are needed while they are asked, one (or as many as are kept) in the rest."""
    kept = max(1, usage.least)
    return HOURS_A_MONTH * (usage.instances * usage.busy + kept * (1 - usage.busy))


def _by_machine(price: MachinePrice, usage: Usage, currency: str) -> Cost | None:
    """The cheapest way to that many cores: machines of one size, as many as are needed. They run all month."""
    ways = []
    for at, machine in enumerate(price.machines):
        if machine.memory_gib < usage.instance_gib or usage.gpu != bool(machine.gpu):
            continue
        count = max(1, usage.least, math.ceil(usage.cores / min(machine.cores, usage.machine_cores) - 1e-9))
        ways.append((count * machine.per_hour, count, at, machine))
    if not ways:
        return None
    _, count, _, machine = min(ways)
    return _machines(price, machine, count, currency)


def _machines(price: MachinePrice, machine: Machine, count: int, currency: str) -> Cost:
    total = count * HOURS_A_MONTH * machine.per_hour
    line = f"machines: {count} x {machine.name} x {HOURS_A_MONTH} h x {machine.per_hour:g} = {total:.2f} {currency}"
    size = f"{count} x {machine.name}"
    return Cost(amount=total, currency=currency, lines=(line, _said(price)), size=size, machine=machine.name, count=count, price=price)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _plain(price: float) -> str:
    """Without an exponent."""
    return f"{price:.12f}".rstrip("0").rstrip(".")


def _said(price: Price) -> str:
    return f"price of {price.date}, {price.region}: {price.source}"

"""What a month costs, against cases reckoned by hand; the table that comes with aweigh; a person's own."""

import dataclasses
import json
from pathlib import Path

import pytest
from tests.unit.deploy.jobs import job

from aweigh.core.errors import FileMissing, InvalidFile
from aweigh.core.plugins import plugins
from aweigh.deploy.prices import Machine, MachinePrice, SharePrice, Usage, UsePrice, cost_lines, monthly, read_prices
from aweigh.deploy.target import Demand, Scale

SAID = {"target": "t", "region": "r", "date": "2026-01", "source": "a test"}


def near(amount: float) -> object:
    return pytest.approx(amount, rel=1e-6)


def test_by_use_every_request_alone() -> None:
    """A million requests of 12 ms at half a GiB: 12 000 s x 0.5 GiB x 0.0000166667 = 0.10, and 0.20 for the requests."""
    price = UsePrice(**SAID, per_million_requests=0.2, per_gib_second=0.0000166667)
    usage = Usage(requests_per_second=1e6 / 2_628_000, request_s=0.012, instance_gib=0.5)
    cost = monthly(price, usage, "USD")
    assert cost is not None
    assert cost.amount == near(0.2 + 6000 * 0.0000166667)
    assert cost.lines[0] == "requests: 1 million x 0.2 = 0.20 USD"
    assert cost.lines[1] == "memory while answering: 6,000 GiB-s x 0.0000166667 = 0.10 USD"
    assert cost.lines[-1] == "price of 2026-01, r: a test"


def test_by_use_time_is_rounded_up_and_shared_where_the_target_shares_it() -> None:
    """100 requests/s of 12 ms, rounded up to 100 ms, are 10 s of paid time a second: alone ten instances', together that of the one that runs."""
    rates = {"per_vcpu_second": 0.00002, "least_ms": 100.0}
    usage = Usage(requests_per_second=100, request_s=0.012, cores=2, instance_gib=0.5)
    alone = monthly(UsePrice(**SAID, **rates), usage, "USD")
    together = monthly(UsePrice(**SAID, **rates, shared=True), usage, "USD")
    assert alone is not None
    assert together is not None
    assert alone.amount == near(10 * 2_628_000 * 0.00002)
    assert together.amount == near(2 * 2_628_000 * 0.00002)


def test_by_use_what_is_kept_ready_is_paid_in_the_rest_of_the_month() -> None:
    """Busy a quarter of the month: one instance is paid for answering then, and for being there in the other three quarters."""
    price = UsePrice(**SAID, per_vcpu_second=0.00002, idle_per_vcpu_second=0.000002, least_ms=100, shared=True)
    usage = Usage(requests_per_second=50, busy=0.25, request_s=0.01, instance_gib=1, least=1)
    cost = monthly(price, usage, "EUR")
    assert cost is not None
    assert cost.amount == near(657_000 * 0.00002 + 1_971_000 * 0.000002)
    assert cost.currency == "EUR"


def test_machines_run_all_month_and_the_cheapest_way_is_taken() -> None:
    """5 cores: three of two cores (0.30) beat two of four (0.36) and one of eight (0.33)."""
    sizes = ((2, 4, 0.1), (4, 8, 0.18), (8, 16, 0.33))
    price = MachinePrice(**SAID, machines=tuple(Machine(name=f"m{v}", vcpus=v, memory_gib=g, per_hour=h) for v, g, h in sizes))
    cost = monthly(price, Usage(requests_per_second=1, request_s=1, cores=5, instance_gib=1, busy=0.1), "USD")
    assert cost is not None
    assert cost.amount == near(3 * 730 * 0.1)
    assert cost.size == "3 x m2"
    larger = monthly(price, Usage(requests_per_second=1, request_s=1, cores=1, instance_gib=6), "USD")
    assert larger is not None
    assert larger.size == "1 x m4"
    assert monthly(price, Usage(requests_per_second=1, request_s=1, instance_gib=17), "USD") is None
    assert monthly(price, Usage(requests_per_second=1, request_s=1, instance_gib=1, gpu=True), "USD") is None


def test_of_a_burstable_machine_no_more_is_planned_with_than_it_may_do_all_day() -> None:
    price = MachinePrice(**SAID, machines=(Machine(name="b", vcpus=2, memory_gib=4, per_hour=0.04, share=0.4),))
    cost = monthly(price, Usage(requests_per_second=1, request_s=1, cores=2, instance_gib=1), "USD")
    assert cost is not None
    assert cost.size == "3 x b"


def test_a_part_of_a_cluster() -> None:
    """Three instances for half the month and one in the rest: 730 x 2 hours of half a core and a quarter of a GiB."""
    price = SharePrice(**SAID, per_vcpu_hour=0.04, per_gib_hour=0.005)
    usage = Usage(requests_per_second=1, busy=0.5, request_s=1, cores=3, instance_cores=1.0, instance_gib=0.25)
    cost = monthly(price, usage, "USD")
    assert cost is not None
    assert cost.amount == near(1460 * 0.04 + 365 * 0.005)


def test_one_machine_is_priced_however_many_processes_the_load_takes(tmp_path: Path) -> None:
    """Three processes are not three machines: without a load one is enough; 3000 requests/s at 70 % of 2000 take 2.15 cores, three t3.small of 0.8."""
    one = job(tmp_path, "systemd", scale=Scale(least=3, most=6), demand=Demand(requests_per_second=3000))
    assert cost_lines("systemd", one)[0].endswith("3 x t3.small")
    assert cost_lines("systemd", dataclasses.replace(one, demand=Demand()))[0].endswith("1 x t3.small")


def test_every_target_has_a_price_and_every_price_says_where_it_is_from() -> None:
    table = read_prices()
    for row in plugins("target"):
        price = table.find(row.name)
        assert price is not None, row.name
        assert price.source
        assert price.date >= "2025"
    assert table.find("sagemaker", "serverless") is not None
    assert table.find("nowhere") is None


def test_a_function_on_arm64_has_its_own_price(tmp_path: Path) -> None:
    x86, arm64 = (
        cost_lines(
            "lambda",
            job(tmp_path, "lambda", set_={"package": "zip", "role": "arn:aws:iam::123456789012:role/models"}),
            memory_mib=1769,
            mode=mode,
        )
        for mode in ("", "arm64")
    )
    assert "on x86" in x86[-1]
    assert "on arm64" in arm64[-1]
    assert "x 0.0000133334" in "".join(arm64)


def test_a_persons_own_prices_take_the_places_of_ours(tmp_path: Path) -> None:
    own = {
        "model": "share",
        "target": "kubernetes",
        "per_vcpu_hour": 0.01,
        "per_gib_hour": 0.001,
        "region": "cellar",
        "date": "2026-11",
        "source": "the bill",
    }
    place = tmp_path / "prices.json"
    place.write_text(json.dumps({"format_version": 1, "currency": "USD", "prices": [own]}))
    table = read_prices(place)
    assert table.find("kserve") == SharePrice(**{key: value for key, value in own.items() if key != "model"})  # type: ignore[arg-type]
    assert table.find("lambda") is not None
    place.write_text(json.dumps({"format_version": 1, "currency": "CHF", "prices": [own]}))
    table = read_prices(place)
    assert table.currency == "CHF"
    assert table.find("lambda") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no table of prices"),
        ('{"format_version": 2, "currency": "USD", "prices": []}', "format_version 2"),
        ('{"format_version":1,"currency":"USD","prices":[{"model":"share","target":"k","region":"","date":"","source":"","per_vcpu_hour":-1,"per_gib_hour":0}]}', "per_vcpu_hour is -1"),
        ('{"format_version":1,"currency":"USD","prices":[{"model":"machines","target":"k","region":"","date":"","source":"","machines":[]}]}', "lists no machine"),
        ('{"format_version":1,"currency":"USD","prices":[{"model":"machines","target":"k","region":"","date":"","source":"","machines":[{"name":"a","vcpus":0,"memory_gib":1,"per_hour":1}]}]}', "sizes that cannot be"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    place = tmp_path / "prices.json"
    place.write_text(text)
    with pytest.raises(InvalidFile, match=said):
        read_prices(place)
    with pytest.raises(FileMissing):
        read_prices(tmp_path / "none.json")

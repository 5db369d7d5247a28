"""The report: a table for people, a JSON file for machines."""

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.rounds import Line, Table
from bench.startup import Budget

RESULTS: Final = Path(__file__).parent / "results"
HEAD: Final = f"{'server':<14}{'requests/s':>12}{'slowest-fastest':>19}{'p50 ms':>9}{'p99 ms':>9}{'ratio':>8}{'min-max':>14}{'CPU ms/1,000':>14}{'MB':>7}"


def table_text(table: Table) -> str:
    """One load, one line per server."""
    return "\n".join([table.title, HEAD, *(_line(table, line) for line in table.lines)])


def _line(table: Table, line: Line) -> str:
    spread = f"{line.slowest:,.0f}-{line.fastest:,.0f}"
    ratios = f"{min(line.ratios):.2f}-{max(line.ratios):.2f}"
    figures = f"{line.per_second:>12,.0f}{spread:>19}{line.p50_ms:>9.2f}{line.p99_ms:>9.2f}{line.ratio:>8.2f}{ratios:>14}"
    return f"{line.server:<14}{figures}{line.cpu_ms_per_thousand:>14.1f}{line.memory_mb:>7.0f}{_verdict(table, line)}"


def _verdict(table: Table, line: Line) -> str:
    target = table.targets.get(line.server)
    return "" if target is None else f"  target {target:.3g}: {'met' if line.ratio >= target else 'MISSED'}"


def missed(tables: Sequence[Table], budgets: Sequence[Budget]) -> list[str]:
    """The targets and budgets that were not met."""
    found = [
        f"{table.load}: {line.server} at {line.ratio:.2f} of {table.lines[0].server}, {table.targets[line.server]:.3g} is the target"
        for table in tables
        for line in table.lines
        if line.ratio < table.targets.get(line.server, 0.0)
    ]
    return found + [
        f"{budget.name}: {budget.value:.3g} {budget.unit}, {budget.limit:g} is the budget" for budget in budgets if not budget.met
    ]


def budgets_text(budgets: Sequence[Budget]) -> str:
    """Start-up times and sizes, each with its budget."""
    rows = [f"{'budget':<46}{'measured':>12}{'limit':>10}"]
    for budget in budgets:
        limit = "" if budget.limit is None else f"{budget.limit:g} {budget.unit}"
        verdict = "" if budget.limit is None else f"  {'met' if budget.met else 'MISSED'}"
        rows.append(f"{budget.name:<46}{f'{budget.value:.3g} {budget.unit}':>12}{limit:>10}{verdict}")
    return "\n".join(rows)


def machine_text(machine: Mapping[str, object]) -> str:
    """The machine, the versions and the bias."""
    plain = [f"{name}: {value}" for name, value in machine.items() if not isinstance(value, dict | list)]
    rows = ["; ".join(plain)]
    for name, value in machine.items():
        if isinstance(value, dict):
            rows.append(f"{name}: " + ", ".join(f"{key} {what}" for key, what in value.items()))
        elif isinstance(value, list):
            rows.append(f"{name}: " + "; ".join(str(item) for item in value))
    return "\n".join(rows)


def write(scenario: str, machine: Mapping[str, object], tables: Sequence[Table], budgets: Sequence[Budget]) -> Path:
    """Write everything measured, samples included, to bench/results."""
    RESULTS.mkdir(exist_ok=True)
    now = dt.datetime.now(tz=dt.UTC)
    path = RESULTS / f"{scenario}-{now:%Y%m%dT%H%M%SZ}.json"
    document = {
        "scenario": scenario,
        "at": now.isoformat(timespec="seconds"),
        "machine": dict(machine),
        "tables": [dataclasses.asdict(table) for table in tables],
        "budgets": [dataclasses.asdict(budget) for budget in budgets],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path

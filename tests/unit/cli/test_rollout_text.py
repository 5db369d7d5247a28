"""A rollout as it is drawn, and what the options of `promote` mean."""

from datetime import UTC, datetime

import pytest

from aweigh.cli.promote import plan_of
from aweigh.cli.rollout_text import COLUMNS, lines_of, shown_row
from aweigh.core.errors import InvalidInput
from aweigh.core.rollout import Bounds, Compared, Offence, Plan, Report, Version

NOW = datetime(2026, 5, 1, 12, 1, 30, tzinfo=UTC)
PLAN = Plan(name="fraud", candidate=2, canary=0.1, shadow=1.0, sticky="x-user", promote_after=1000)
OFFENCE = Offence(inputs="amount=3, country='NL'", stable={"label": "ok"}, candidate={"label": "fraud"}, max_abs=0.5, flipped=True)
RUNNING = Report(
    plan=PLAN,
    stable=1,
    state="running",
    began_at="2026-05-01T12:00:00+00:00",
    versions=(
        Version(number=1, requests=4210, failed=0, p50_ms=1.25, p95_ms=3.4),
        Version(number=2, requests=468, failed=2, p50_ms=1.3, p95_ms=3.6),
    ),
    compared=Compared(calls=40, rows=80, flips=3, numbers=160, max_abs=0.02, sum_abs=1.6, failed=1, skipped=2, offences=(OFFENCE,)),
    errors=("the session failed: out of range (request 7)",),
)
SAID = {"canary": None, "shadow": None, "sticky": "", "promote_after": 0, "judge_after": 100}
BOUNDS = {"max_errors": "1%", "max_latency": "2", "max_difference": "none", "max_flips": "5%"}


def test_a_rollout_under_way_shows_both_versions_and_the_worst_rows() -> None:
    text = "\n".join(lines_of(RUNNING, now=NOW))
    assert text.splitlines()[0] == "fraud: version 2, beside version 1: running for 90 s"
    for part in (
        "10% of requests by the header x-user, shadow of 100% of calls",
        "1% more errors, 2 times the p95, 5% other labels, judged from 100 on; promoted by itself after 1,000 requests of its own",
        "compared: 40 calls, 80 rows: 3 with another label (3.75%); largest difference 0.02, mean 0.01",
        "the candidate failed 1 of these calls; 2 were not repeated",
        "another label: amount=3, country='NL'",
        "version 1 (stable): label ok",
        "version 2 (candidate): label fraud",
        "the session failed: out of range (request 7)",
    ):
        assert part in text, text
    sides = [line.split() for line in text.splitlines() if line.startswith("  version")]
    assert sides[0] == ["version", "1", "(stable)", "4,210", "0", "1.25", "ms", "3.4", "ms"]
    assert sides[1] == ["version", "2", "(candidate)", "468", "2", "1.3", "ms", "3.6", "ms"]


def test_one_that_has_ended_says_why() -> None:
    ended = Report(
        plan=PLAN,
        stable=1,
        state="rolled back",
        began_at="2026-05-01T12:00:00+00:00",
        ended_at="2026-05-01T12:00:12+00:00",
        why="it failed 100% of its first 3 requests",
    )
    assert lines_of(ended)[0] == "fraud: version 2, beside version 1: rolled back after 12 s: it failed 100% of its first 3 requests"
    row = dict(zip(COLUMNS, shown_row(ended), strict=True))
    assert (row["state"], row["requests"], row["took"]) == ("rolled back", "-", "12 s")


def test_what_was_live_already_is_said_in_a_line() -> None:
    same = Report(plan=Plan(name="fraud", candidate=1), stable=1, state="promoted", began_at="2026-05-01T12:00:00+00:00")
    assert lines_of(same) == ["fraud: version 1 is live already: nothing was changed"]


def test_a_time_that_nobody_can_read_costs_no_report() -> None:
    assert "running for 0 s" in lines_of(Report(plan=PLAN, stable=1, state="running", began_at="soon"))[0]


def test_options_become_a_plan() -> None:
    said = {**SAID, "canary": "10%", "shadow": "0.5", "sticky": "x-user", "promote_after": 500, "judge_after": 50}
    found = plan_of("fraud", 2, **said, **{**BOUNDS, "max_difference": "0.01", "max_flips": "none"})  # type: ignore[arg-type]
    bounds = Bounds(requests=50, errors=0.01, latency=2.0, difference=0.01, flips=None)
    assert found == Plan(name="fraud", candidate=2, canary=0.1, shadow=0.5, sticky="x-user", promote_after=500, bounds=bounds)
    assert plan_of("fraud", 0, **SAID, **BOUNDS) == Plan(name="fraud")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"canary": "110%"}, "--canary is '110%': expected a share from 0% to 100%"),
        ({"shadow": "all"}, "--shadow is 'all'"),
        ({"canary": "0%"}, "--canary is '0%': it would be tried on nothing"),
        ({"canary": "none"}, "--canary is 'none': it would be tried on nothing"),
        ({"canary": ""}, "--canary is '': it would be tried on nothing"),
        ({"canary": "10%", "shadow": "0"}, "--shadow is '0': it would be tried on nothing"),
        ({"max_errors": "-1%"}, "--max-errors is '-1%'"),
        ({"max_latency": "twice"}, "--max-latency is 'twice': expected a number, or 'none'"),
        ({"max_latency": "nan"}, "latency is nan"),
        ({"promote_after": 10}, "promote_after without canary or shadow"),
        ({"sticky": "x-user"}, "--sticky without --canary"),
        ({"canary": "10%", "sticky": "x user"}, "sticky is 'x user'"),
        ({"judge_after": 0}, "bounds.requests is 0"),
    ],
)
def test_each_mistake_has_its_message(given: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message.replace("(", r"\(")):
        plan_of("fraud", 2, **{**SAID, **BOUNDS, **given})  # type: ignore[arg-type]

"""`aweigh promote`: move a name to another version while its server runs: at once, or tried on a share of the requests before."""

import sys

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.rollout_text import lines_of
from aweigh.core.errors import InvalidInput
from aweigh.core.rollout import Bounds, Plan, Report, check_plan, parse_share

_NONE = "none"
"""As a bound: it is not watched."""


@click.command("promote")
@click.argument("model", metavar="NAME[:VERSION]")
@click.option("--canary", metavar="SHARE", help="Let the version answer this share of the requests, such as 10%.")
@click.option(
    "--shadow", metavar="SHARE", default=None, is_flag=False, flag_value="100%",
    help="Repeat this share of the calls (all, if none is said) with the version, compare, and throw its answers away.",
)  # fmt: skip
@click.option("--sticky", metavar="HEADER", default="", help="Keep clients with equal values of this header with one version.")
@click.option(
    "--max-errors", metavar="SHARE", default="1%", help="Roll back when it fails this share more than the stable version (default: 1%)."
)
@click.option(
    "--max-latency", metavar="RATIO", default="2", help="Roll back when its p95 is so many times the stable version's (default: 2)."
)
@click.option(
    "--max-difference",
    metavar="NUMBER",
    default="none",
    help="Of a shadow: roll back when a number in an answer differs by more (default: none).",
)
@click.option("--max-flips", metavar="SHARE", default="5%", help="Of a shadow: roll back when more rows get another label (default: 5%).")
@click.option(
    "--judge-after",
    metavar="NUMBER",
    type=int,
    default=100,
    help="Requests or rows before shares and percentiles are judged (default: 100).",
)
@click.option(
    "--promote-after",
    metavar="NUMBER",
    type=int,
    default=0,
    help="Promote by itself after so many good requests (default: when you say so).",
)
@click.option(
    "--wait/--no-wait", "wait", default=None, help="Follow it until it has ended (default: on a terminal, and with --promote-after)."
)
@click.option("--timeout", metavar="SECONDS", type=float, default=0.0, help="Follow it for so long at most (default: until it has ended).")
@click.option("--url", metavar="URL", default="", help="The server (default: the host and port of the settings).")
@click.option("--store-only", is_flag=True, help="Ask no server: change which version the next one serves.")
@common_options("port", "api_key_file")
def command(run: Run, model: str, url: str, store_only: bool, wait: bool | None, timeout: float, **said: object) -> int:
    """Let another version answer a name, without losing a request.

    It is loaded beside the version that answers, replays its golden set, and takes over; with --canary or --shadow it is tried out before, and
    rolled back by itself when it does worse than allowed. Without VERSION: the rollout under way is promoted; where there is none, the newest
    version. 'none' as a bound means that it is not watched.

    Exit status: 0 promoted, or under way where it is not waited for; 1 refused or rolled back.

    \b
    Examples:
      aweigh promote fraud:2
      aweigh promote fraud:2 --canary 10% --promote-after 1000
      aweigh promote fraud:2 --shadow --max-difference 0.01
      aweigh promote fraud
    """
    from aweigh.app.promotion import Server, promote_in_store
    from aweigh.cli.following import followed
    from aweigh.core.names import parse_reference

    reference = parse_reference(model)
    plan = plan_of(reference.name, reference.version or 0, **said)  # type: ignore[arg-type]  # the options above are its parameters
    tried = bool(plan.canary or plan.shadow)
    if store_only:
        if tried:
            raise InvalidInput("--store-only tries nothing out: there is no server that could", hint="leave out --canary and --shadow")
        return _told(run, promote_in_store(run.settings, reference))
    if reference.alias is not None:
        raise InvalidInput(
            f"{model!r} names a version by an alias: a server is asked for one by number", hint=f"such as {reference.name}:2"
        )
    server = Server(run.settings, url)
    with run.output.progress() as progress:
        progress(f"{model}: loading it and replaying its golden set")
        report = server.begin(plan) if tried or plan.candidate else server.promote(reference.name)
    if report.open and _waits(run, plan, wait):
        if not run.output.as_json and not sys.stdout.isatty():
            run.output.text(*lines_of(report), "")
        report = followed(run, server, report, timeout)
    return _told(run, report)


def plan_of(
    name: str,
    candidate: int,
    *,
    canary: str | None,
    shadow: str | None,
    sticky: str,
    promote_after: int,
    judge_after: int,
    **bounds: str,
) -> Plan:
    """What the options say. Raises InvalidInput naming the one that is wrong."""
    if sticky and not canary:
        raise InvalidInput("--sticky without --canary: all requests go to one version anyway", hint="add --canary 10%")
    return check_plan(
        Plan(
            name=name,
            candidate=candidate,
            canary=_tried("--canary", canary),
            shadow=_tried("--shadow", shadow),
            sticky=sticky,
            promote_after=promote_after,
            bounds=Bounds(
                requests=judge_after,
                errors=_share("--max-errors", bounds["max_errors"]),
                latency=_number("--max-latency", bounds["max_latency"]),
                difference=_number("--max-difference", bounds["max_difference"]),
                flips=_share("--max-flips", bounds["max_flips"]),
            ),
        )
    )


def _tried(option: str, text: str | None) -> float:
    """The share to try it on; 0 where nothing was said, and only there: nobody who asks for a trial gets the version at once."""
    share = 0.0 if text is None else _share(option, text)
    if text is not None and not share:
        raise InvalidInput(f"{option} is {text!r}: it would be tried on nothing", hint="leave it out to promote at once")
    return share or 0.0


def _share(option: str, text: str) -> float | None:
    if text in ("", _NONE):
        return None
    try:
        return parse_share(text)
    except InvalidInput:
        raise InvalidInput(f"{option} is {text!r}: expected a share from 0% to 100%", hint="write it as 10% or 0.1") from None


def _number(option: str, text: str) -> float | None:
    if text == _NONE:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"{option} is {text!r}: expected a number, or {_NONE!r}") from None


def _waits(run: Run, plan: Plan, wait: bool | None) -> bool:
    """Where there is an end that comes without a person, or a person who looks on."""
    if wait is not None:
        return wait
    return bool(plan.promote_after) or (sys.stdout.isatty() and not run.output.as_json)


def _told(run: Run, report: Report) -> int:
    run.output.show(report, lambda: run.output.text(*lines_of(report), *_next(report)))
    return int(not report.open and report.state != "promoted")


def _next(report: Report) -> list[str]:
    if not report.open:
        return []
    name = report.plan.name
    return ["", f"aweigh rollouts {name} --watch    # see how it does", f"aweigh promote {name}", f"aweigh rollback {name}"]

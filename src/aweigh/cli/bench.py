"""`aweigh bench`: a load test that says what it measured, how, and whether to believe it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aweigh.cli.options import Run, common_options

if TYPE_CHECKING:
    from aweigh.app.bench import BenchOptions

_TERMINAL = "-"


@click.command("bench")
@click.argument("url", metavar="URL")
@click.option("--concurrency", metavar="N,…", default="", help="Closed loop: so many users, each waiting for its answer (default: 1,8,32).")
@click.option("--rate", metavar="N,…", default="", help="Open loop: so many requests per second, whatever the server does.")
@click.option("--arrival", type=click.Choice(["poisson", "constant"]), default="poisson", help="How an open loop's requests arrive.")
@click.option("--duration", metavar="TIME", default="5s", help="Measured time of each run (default: 5s).")
@click.option("--warmup", metavar="TIME", default="1s", help="The same load before that, not measured (default: 1s).")
@click.option("--timeout", metavar="TIME", default="10s", help="Longest wait, from when a request was due (default: 10s).")
@click.option("--connections", metavar="N", type=int, default=0, help="Open loop: connections (default: 64; over gRPC 4).")
@click.option("--processes", metavar="N", type=int, default=1, help="Processes that generate the load (default: 1).")
@click.option("--data", metavar="FILE", default="", help="Ask with these rows: csv, jsonl, parquet, npy or npz (default: made up).")
@click.option("--rows", metavar="N", type=click.IntRange(1, 65536), default=1, help="Rows in each request (default: 1).")
@click.option("--binary", is_flag=True, help="Send and ask for binary tensors (Open Inference over REST).")
@click.option("--body", metavar="FILE", default="", help="Send this body as it stands, to any URL.")
@click.option("--content-type", metavar="TYPE", default="", help="Of --body.")
@click.option("--expect", metavar="FILE|alone", default="", help="Check answers: against a json or npz, or those given before the load.")
@click.option("--header", "headers", metavar="NAME:VALUE", multiple=True, help="Send this header too; may be given again.")
@click.option("--api-key-file", "key_file", metavar="FILE", default="", help="Send the first key of this file.")
@click.option("--ca-file", "ca_file", metavar="FILE", default="", help="PEM file of the authorities to trust, for https and grpcs.")
@click.option(
    "--require", "gates", metavar="GATE", multiple=True, help="Fail unless 'p99 <= 20ms', 'errors <= 0.1%', 'throughput >= 1000/s'."
)
@click.option(
    "--find-capacity", "objective", metavar="OBJECTIVE", default="", help="Find the highest rate that holds, such as 'p99 <= 20ms'."
)
@click.option("--max-rate", metavar="N", type=click.FloatRange(1, 1e7), default=1e6, help="With it: try no higher rate (default: 1000000).")
@click.option("--cores", metavar="N", type=click.FloatRange(0.01), help="With it: cores of the server (default: those it was seen to use).")
@click.option(
    "--load", "sized_for", metavar="N", type=click.FloatRange(0, min_open=True), help="With it: size for so many requests per second."
)
@click.option(
    "--headroom", metavar="SHARE", type=click.FloatRange(0, 0.95), default=0.3, help="With it: kept free on each replica (default: 0.3)."
)
@click.option("--price", metavar="PRICE", default="", help="With it: '0.04/core-hour' or '0.20/replica-hour'.")
@click.option("--corrected", is_flag=True, help="Closed loop: also estimate what the users' waiting left out.")
@click.option("--plot", metavar="FILE|-", default="", help="Draw it: .svg, .html, .png, or '-' for the terminal.")
@click.option("--seed", metavar="N", type=int, default=0, help="Of arrivals and made-up requests (default: 0).")
@common_options()
def command(run: Run, plot: str, **said: Any) -> int:
    """Load a server and say how it did: latency, throughput, errors, capacity.

    URL is that of a model: http://HOST:PORT/v2/models/NAME (Open Inference), …/predict/NAME (rows), grpc://HOST:PORT/NAME (gRPC); or any
    URL, with --body. Requests are tried before the load, and refused ones end the test. The exit code is 1 when a gate fails or nothing
    was answered.

    \b
    Examples:
      aweigh bench http://127.0.0.1:8080/v2/models/iris
      aweigh bench grpc://127.0.0.1:8080/iris --rate 1000,5000 --require "p99 <= 20ms"
      aweigh bench http://127.0.0.1:8080/v2/models/iris --find-capacity "p99 <= 20ms" --load 50000 --price 0.04/core-hour
    """
    from aweigh.app.bench import check_plot, run_bench, write_plot
    from aweigh.bench.drawings import summary
    from aweigh.bench.report import report_document
    from aweigh.cli.bench_text import draw

    options = _options(**said)
    if plot not in {"", _TERMINAL}:
        check_plot(Path(plot))
    with run.output.progress() as progress:
        report = run_bench(options, progress)
    if plot not in {"", _TERMINAL}:
        write_plot(report, Path(plot), [*summary(report.runs), "", *report.notes])
    run.output.show(report_document(report), lambda: draw(run.output, report, plot=plot, terminal=plot == _TERMINAL))
    return 0 if report.passed else 1


def _options(**said: Any) -> "BenchOptions":
    from aweigh.app.bench import BenchOptions, Search
    from aweigh.app.bench_data import Wanted
    from aweigh.bench.capacity import parse_price
    from aweigh.bench.gates import parse_gate
    from aweigh.bench.loads import Terms, parse_loads
    from aweigh.core.errors import WrongUse
    from aweigh.core.objective import parse_objective

    terms = Terms(**{name: said[name] for name in ("duration", "warmup", "timeout", "arrival", "connections", "processes", "seed")})
    search = None
    if said["objective"]:
        if said["concurrency"] or said["rate"]:
            raise WrongUse("--find-capacity chooses the rates itself", hint="leave --concurrency and --rate out")
        search = Search(
            objective=parse_objective(said["objective"]),
            max_rate=said["max_rate"],
            cores=said["cores"],
            load=said["sized_for"],
            headroom=said["headroom"],
            price=parse_price(said["price"]) if said["price"] else None,
        )
    elif said["sized_for"] or said["price"] or said["cores"]:
        raise WrongUse("--load, --price and --cores belong to --find-capacity", hint="add --find-capacity 'p99 <= 20ms'")
    if said["data"] and said["body"]:
        raise WrongUse("--data and --body both say what to send", hint="give one of them")
    return BenchOptions(
        url=said["url"],
        loads=parse_loads("" if search else said["concurrency"], "1" if search else said["rate"], terms),
        wanted=Wanted(**{name: said[name] for name in ("data", "body", "content_type", "expect", "binary", "rows", "seed")}),
        headers=tuple(_header(text) for text in said["headers"]),
        api_key_file=said["key_file"],
        ca_file=said["ca_file"],
        gates=tuple(parse_gate(text) for text in said["gates"]),
        search=search,
        corrected=said["corrected"],
    )


def _header(text: str) -> tuple[str, str]:
    from aweigh.core.errors import WrongUse

    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise WrongUse(f"--header {text[:60]!r} is not NAME:VALUE", hint="for example --header 'x-tenant: blue'")
    return name.strip().lower(), value.strip()

"""`aweigh demo`: the whole road in a few seconds, on a real model, with the commands to repeat each step."""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.proof import draw_proof
from aweigh.core.errors import MissingLibrary

if TYPE_CHECKING:
    from aweigh.app.demo import Asked
    from aweigh.app.demo_swap import Swapped


@click.command("demo")
@common_options()
def command(run: Run) -> None:
    """Train, pack, prove, serve, ask and swap a real model.

    Trains a classifier on real data that ships with scikit-learn, packs it, shows the proof, serves it, asks it over REST and gRPC, lets a
    second version take over while clients go on asking, stops the server, and prints the command for each step. Everything is kept in the
    folder `demo` below the home.
    """
    from aweigh.app import demo, demo_swap

    out, settings = run.output, demo.demo_settings(run.settings)
    home = shlex.quote(str(settings.home_folder))
    aweigh, python = _program("aweigh"), _program("python")
    trained = demo.train(settings)
    out.text(
        "1. Train: StandardScaler + GradientBoostingClassifier on 426 tumours, 30 measurements each",
        f"   accuracy on 143 unseen tumours {trained.accuracy:.3f}, {trained.seconds:.1f} s; saved as {trained.folder / 'model.joblib'}",
        "",
        "2. Pack and prove: scikit-learn's own answers against the converted model's",
        f"   $ {aweigh} --home {home} pack {home}/model.joblib --trust --name {demo.NAME} --sample {home}/sample.csv --labels {home}/labels.csv",
        "",
    )
    with out.progress() as progress:
        package = demo.prove(settings, trained, progress)
    if not out.as_json:
        draw_proof(out, package)
    out.text(
        "", "3. Serve: REST and gRPC on one port, in a process of its own", f"   $ {aweigh} --home {home} serve {demo.NAME} --port 8080", ""
    )
    asked = []
    with demo.served(settings, str(package.reference)) as server:
        facts = server["models"][0]
        out.text(
            f"   ready on {server['url']}: {facts['golden_cases']} golden cases replayed in {facts['replay_ms']:.0f} ms; "
            f"one call takes {facts['call_us']:.0f} us, so it runs {facts['executor']}",
            "",
            "4. Ask",
            f"   $ curl http://127.0.0.1:8080/predict/{demo.NAME} -d @{home}/request.json",
        )
        asked.append(demo.ask_rest(server["url"], trained, package))
        _draw_answers(run, asked[-1])
        out.text(
            f'   $ {python} -c \'import aweigh, json; print(aweigh.Client("grpc://127.0.0.1:8080").predict("{demo.NAME}", '
            f'json.load(open("{settings.home_folder}/request.json"))["rows"]))\''
        )
        try:
            asked.append(demo.ask_grpc(server["url"], trained, package))
            _draw_answers(run, asked[-1])
        except MissingLibrary as error:
            out.text(f"   {error.message}: {error.hint}")
        out.text("5. Swap: a second version, of more and smaller steps, takes over while clients go on asking")
        with out.progress() as progress:
            newer = demo_swap.prove_next(settings, trained, progress)
        number = newer.reference.version or 2
        swapped = demo_swap.swap(server["url"], trained, number)
        _draw_swap(run, swapped, f"{aweigh} promote {demo.NAME}:{number} --shadow --promote-after {demo_swap.ROWS}")
    out.text(
        "6. Stop: SIGTERM, drained, ended",
        "",
        "Try next:",
        f"   {aweigh} --home {home} show {demo.NAME}      everything the package holds, with its evidence",
        f"   {aweigh} --home {home} verify {demo.NAME}    prove it again, on this machine",
        f"   {aweigh} pack YOUR-MODEL.onnx --name yours",
    )
    document = {
        "model": str(package.reference),
        "digest": package.digest,
        "accuracy": trained.accuracy,
        "server": server,
        "asked": asked,
        "swapped": swapped,
    }
    run.output.show(document, lambda: None)


def _draw_swap(run: Run, swapped: "Swapped", command: str) -> None:
    compared, plan = swapped.report.compared, swapped.report.plan
    told = [f"   $ {command}"]
    if compared is not None:
        told.append(
            f"   shadow: {compared.rows} rows that version {swapped.report.stable} answered were repeated with version {plan.candidate}: "
            f"{compared.flips} got another label, the largest difference is {compared.max_abs:.2g}"
        )
    versions = ", ".join(f"{count} by version {version}" for version, count in sorted(swapped.versions.items()))
    told.append(f"   {swapped.report.state} after {swapped.seconds:.1f} s: {swapped.report.why}")
    told.append(f"   meanwhile clients sent {swapped.requests} requests: {versions}, {swapped.lost} lost")
    told.append(f"   back again: aweigh rollback {plan.name}")
    run.output.text(*told, "")


def _program(name: str) -> str:
    """How to call a program of this installation from where one stands: its name if that finds it, else a path."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found is not None and Path(found).parent == own.parent:
        return name
    near = os.path.relpath(own)
    return shlex.quote(str(own) if near.startswith("..") else near)


def _draw_answers(run: Run, asked: "Asked") -> None:
    for answer in asked.answers:
        run.output.text("     " + json.dumps(answer))
    run.output.text(
        f"   {asked.protocol}: {asked.milliseconds:.1f} ms, at most {asked.max_difference:.1e} from scikit-learn's own probabilities", ""
    )

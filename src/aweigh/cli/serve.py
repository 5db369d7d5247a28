"""`aweigh serve`: models over REST and gRPC on one port, until told to stop."""

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from aweigh.cli.options import Run, common_options
from aweigh.core.errors import InvalidInput

if TYPE_CHECKING:
    from aweigh.core.protocols import PackageHandle
    from aweigh.serve.overview import ModelFacts

_SETTINGS = (
    "host", "port", "api_key_file", "no_auth", "model_control", "shared_memory", "workers", "hang_timeout_s", "worker_memory_bytes", "executor", "threads", "processes", "child_memory_bytes", "session_threads", "batching", "objective", "response_cache_bytes", "max_queue", "max_body_bytes", "request_timeout_s",
    "drain_timeout_s", "drain_delay_s", "access_log",
)  # fmt: skip


@click.command("serve")
@click.argument("models", metavar="NAME[:VERSION|@ALIAS]|FILE...", nargs=-1, required=True)
@click.option("--name", metavar="NAME", help="Name for a FILE (default: made from the file's name).")
@click.option("--sample", metavar="FILE", help="For a FILE: rows like those to come, for a full proof.")
@click.option("--trust", is_flag=True, help="For a FILE: load it even if that runs code from it (pickle, joblib).")
@click.option("--variant", metavar="NAME", default="", help="Serve this variant instead of the first that is proven.")
@common_options(*_SETTINGS)
def command(run: Run, models: tuple[str, ...], name: str | None, variant: str, **said: object) -> None:
    """Serve models over REST and gRPC on one port.

    A model answers only after it has replayed its golden set here. A FILE is packed first. SIGTERM or Ctrl-C drains: requests in flight
    are answered, then the server ends. Loopback by default; any other --host needs --api-key-file or --no-auth.

    \b
    Examples:
      aweigh serve fraud
      aweigh serve model.onnx --port 9000
    """
    from aweigh.app.models import open_model
    from aweigh.app.options import PackOptions

    if name and len(models) > 1:
        raise InvalidInput("--name names one file, and several models are given", hint="pack the files first: aweigh pack FILE --name NAME")
    options = PackOptions(command=shlex.join(["aweigh", *sys.argv[1:]]), **said)  # type: ignore[arg-type]  # the options above are its fields
    handles: list[PackageHandle] = []
    for model in models:
        with run.output.progress() as progress:
            handles.append(open_model(run.settings, model, name=name or "", options=options, progress=progress))
    _check_names(handles)

    def ready(port: int, loaded: Sequence["ModelFacts"]) -> None:
        url = f"http://{_bracketed(run.settings.host)}:{port}"
        document = {"url": url, "port": port, "workers": run.settings.workers, "models": [_facts(model) for model in loaded]}
        run.output.show(document, lambda: _draw(run, url, loaded))
        sys.stdout.flush()

    if run.settings.workers > 1:
        from aweigh.app.supervise import run_workers  # which must not bring the server with it: it stays as small as it can

        run_workers(run.settings, handles, ready=ready, variant=variant)
    else:
        from aweigh.app.serve import run_server

        run_server(run.settings, handles, ready=ready, variant=variant)


def _check_names(handles: list["PackageHandle"]) -> None:
    seen = [(handle.reference.name, handle.reference.version) for handle in handles]
    for at, pair in enumerate(seen):
        if pair in seen[:at]:
            raise InvalidInput(f"{pair[0]}:{pair[1]} is given twice", hint="name each model once")


def _facts(model: "ModelFacts") -> dict[str, object]:
    return {name: getattr(model, name) for name in model.__struct_fields__}


def _draw(run: Run, url: str, models: Sequence["ModelFacts"]) -> None:
    out = run.output
    for model in models:
        out.text(
            f"{model.name}:{model.version} ready: {model.runtime}, {model.golden_cases} golden cases replayed in "
            f"{model.replay_ms:.0f} ms, runs {model.executor} ({model.why})"
        )
        if run.settings.workers > 1:
            out.text(f"  weights: {model.weights}")
    workers = f" with {run.settings.workers} workers" if run.settings.workers > 1 else ""
    out.text("", f"serving REST and gRPC on {url}{workers}    (Ctrl-C to stop)", "", "try:")
    out.text(*(f"  curl {url}/predict/{model.name}    # what to send" for model in models[:1]))
    out.text(f"  curl {url}/v2/models/{models[0].name}", f"  curl {url}/metrics")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

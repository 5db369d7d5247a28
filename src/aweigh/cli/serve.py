"""`aweigh serve`: models over REST and gRPC on one port, until told to stop."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from aweigh.cli import output
from aweigh.cli.command_line import kept
from aweigh.cli.options import Run, common_options
from aweigh.core.errors import InvalidInput

if TYPE_CHECKING:
    from aweigh.core.protocols import PackageHandle
    from aweigh.serve.overview import ModelFacts

_SETTINGS = (
    "host", "port", "api_key_file", "no_auth", "model_control", "variant", "version_policy", "version_transition", "poll_store_s", "load_on_first_use", "memory_budget_bytes", "pinned_models", "shared_memory", "fallback", "fallback_after_ms", "workers", "hang_timeout_s", "worker_memory_bytes", "executor", "functions", "threads", "processes", "child_memory_bytes", "session_threads", "batching", "objective", "response_cache_bytes", "max_queue", "max_body_bytes", "request_timeout_s",
    "drain_timeout_s", "drain_delay_s", "access_log", "no_isolate",
)  # fmt: skip


@click.command("serve")
@click.argument("models", metavar="[NAME[:VERSION|@ALIAS]|FILE]...", nargs=-1)
@click.option("--name", metavar="NAME", help="Name for a FILE (default: made from the file's name).")
@click.option("--sample", metavar="FILE", help="For a FILE: rows like those to come, for a full proof.")
@click.option("--trust", is_flag=True, help="For a FILE: load it even if that runs code from it (pickle, joblib).")
@common_options(*_SETTINGS)
def command(run: Run, models: tuple[str, ...], name: str | None, **said: object) -> None:
    """Serve models over REST and gRPC on one port: those that are named, or every one in the store.

    A model answers only after it has replayed its golden set here. A FILE is packed first. SIGTERM or Ctrl-C drains: requests in flight
    are answered, then the server ends. Loopback by default; any other --host needs --api-key-file or --no-auth.

    \b
    Examples:
      aweigh serve fraud
      aweigh serve model.onnx --port 9000
    """
    from aweigh.app.environments import provide
    from aweigh.app.following import versions_to_serve, what_is_followed
    from aweigh.app.models import every_model, open_model
    from aweigh.app.options import PackOptions

    if name and len(models) > 1:
        raise InvalidInput("--name names one file, and several models are given", hint="pack the files first: aweigh pack FILE --name NAME")
    options = PackOptions(command=kept(sys.argv[1:]), **said)  # type: ignore[arg-type]  # the options above are its fields
    models = models or tuple(every_model(run.settings))
    handles: list[PackageHandle] = []
    variant = run.settings.variant
    for model in models:
        with run.output.progress() as progress:
            handles.append(open_model(run.settings, model, name=name or "", options=options, live=True, progress=progress))
    _check_names(handles)
    followed = what_is_followed(run.settings, models, handles)
    handles = versions_to_serve(run.settings, handles, followed)
    with run.output.progress() as progress:
        provide(run.settings, handles, variant=variant, progress=progress)

    def ready(port: int, loaded: Sequence["ModelFacts"]) -> None:
        url = f"http://{_bracketed(run.settings.host)}:{port}"
        document = {"url": url, "port": port, "workers": run.settings.workers, "models": [_facts(model) for model in loaded]}
        later = _not_among(loaded, handles)
        document["loaded_on_first_use"] = [str(handle.reference) for handle in later]
        try:
            run.output.show(document, lambda: _draw(run, url, loaded, later))
            output.flush()
        except (output.ReaderGone, output.CannotWrite) as failure:
            output.discard()
            why = str(failure) or "who read it has left"
            output.warn(f"standard output cannot tell that the server is ready ({why}): it serves all the same")

    if run.settings.workers > 1:
        from aweigh.app.supervise import run_workers  # which must not bring the server with it: it stays as small as it can

        run_workers(run.settings, handles, ready=ready, variant=variant, followed=followed)
    else:
        from aweigh.app.serve import run_server

        run_server(run.settings, handles, ready=ready, variant=variant, followed=followed)


def _check_names(handles: list["PackageHandle"]) -> None:
    seen = [(handle.reference.name, handle.reference.version) for handle in handles]
    for at, pair in enumerate(seen):
        if pair in seen[:at]:
            raise InvalidInput(f"{pair[0]}:{pair[1]} is given twice", hint="name each model once")


def _not_among(loaded: Sequence["ModelFacts"], handles: Sequence["PackageHandle"]) -> list["PackageHandle"]:
    """The packages that are not loaded yet."""
    known = {(model.name, model.version) for model in loaded}
    return [handle for handle in handles if (handle.reference.name, str(handle.reference.version)) not in known]


def _facts(model: "ModelFacts") -> dict[str, object]:
    return {name: getattr(model, name) for name in model.__struct_fields__}


def _draw(run: Run, url: str, models: Sequence["ModelFacts"], later: Sequence["PackageHandle"]) -> None:
    out = run.output
    for model in models:
        out.text(
            f"{model.name}:{model.version} ready: {model.runtime}, {model.golden_cases} golden cases replayed in "
            f"{model.replay_ms:.0f} ms, runs {model.executor} ({model.why})"
        )
        if run.settings.workers > 1:
            out.text(f"  weights: {model.weights}")
    for handle in later:
        out.text(f"{handle.reference} is loaded on its first use")
    workers = f" with {run.settings.workers} workers" if run.settings.workers > 1 else ""
    out.text("", f"serving REST and gRPC on {url}{workers}    (Ctrl-C to stop)", "", "try:")
    name = models[0].name if models else later[0].reference.name
    out.text(f"  curl {url}/predict/{name}    # what to send", f"  curl {url}/v2/models/{name}", f"  curl {url}/metrics")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

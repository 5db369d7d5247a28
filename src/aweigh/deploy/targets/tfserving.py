"""TensorFlow Serving: a base path with the version's SavedModel, and the text files of its configuration. See docs/targets/tfserving.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.core.package import Variant
from aweigh.core.protobuf_text import Value, protobuf_text, read_protobuf_text
from aweigh.deploy.commands import Commands
from aweigh.deploy.model_servers import batches, below, check_files, put, take_away, to_be_put, uneven, variant_for, version_of
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered

_MODELS: Final = "models.config"
_MONITORING: Final = "monitoring.config"
_BATCHING: Final = "batching.config"
_GRAPH: Final = "saved_model.pb"
_MOUNT: Final = "/models"
_HINT: Final = "TensorFlow Serving runs SavedModels: pack the Keras model or SavedModel with `--also tensorflow`, or serve the package itself: `aweigh serve`"


class TfServingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    release: str = "2.19.1"
    """Of the server's container."""
    max_batch_size: int = 64
    batch_timeout_us: int = 1000
    """How long a request waits for others to run with, where it may."""
    base_path: str = ""
    """Folder that the server reads, for --apply."""


class TfServing:
    """A base path and its configuration."""

    name: ClassVar[str] = "tfserving"
    options: ClassVar[type[msgspec.Struct]] = TfServingOptions
    needs: ClassVar[frozenset[Need]] = frozenset()

    def render(self, job: DeployJob) -> Rendered:
        variant, note = variant_for(job, "TensorFlow Serving", _why_not, hint=_HINT)
        options = _options(job.options)
        signature = job.package.manifest.signature
        together = batches(signature, variant) and not uneven(signature)
        said = [f"{job.package.reference} {job.package.digest}, variant {variant.name}", "made by aweigh deploy"]
        files: dict[str, bytes | Path] = {
            _MODELS: protobuf_text(_models(job), said=said),
            _MONITORING: protobuf_text({"prometheus_config": {"enable": True, "path": "/monitoring/prometheus/metrics"}}, said=said),
            **below(variant, f"{job.name}/{version_of(job)}", job.package.path),
        }
        if together:
            files[_BATCHING] = protobuf_text(_batching(job, options), said=said)
        return Rendered(
            files=files,
            does=(
                f"a base path '{job.name}' with version {version_of(job)}, whose default signature is the package's",
                "requests run together: it was proven that they may" if together else "requests are run one by one",
            ),
            costs=cost_lines(self.name, job),
            commands=(_start(options, batching=together),),
            notes=tuple(each for each in (note, "TensorFlow Serving does not replay the golden set") if each),
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        findings = check_files(folder, self.render(job).files)
        try:
            config = read_protobuf_text((folder / _MODELS).read_text(encoding="utf-8"), place=_MODELS)
            known = config["model_config_list"][0]["config"]
        except InvalidFile as error:
            return [*findings, Finding(place=_MODELS, message=error.message, hint=error.hint)]
        except (OSError, UnicodeDecodeError, KeyError, IndexError, TypeError) as error:
            return [*findings, Finding(place=_MODELS, message=f"lists no models: {error}")]
        wanted = [{"name": [job.name], "base_path": [f"{_MOUNT}/{job.name}"], "model_platform": ["tensorflow"]}]
        if known != wanted:
            findings.append(Finding(place=f"{_MODELS}: model_config_list", message=f"is {known}, and {wanted} was rendered", fatal=False))
        if not (folder / job.name / str(version_of(job)) / _GRAPH).is_file():
            findings.append(Finding(place=f"{job.name}/{version_of(job)}", message=f"holds no {_GRAPH}"))
        return findings

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        return to_be_put(folder, _names(job), _options(job.options).base_path, job.before)

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        """Put the version's folder below the base path: the server, which looks every second, sees it whole."""
        return put(folder, _names(job), _options(job.options).base_path, option="base_path", before=job.before)

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        take_away(facts)


def _names(job: DeployJob) -> list[str]:
    return [f"{job.name}/{version_of(job)}"]


def _options(said: msgspec.Struct) -> TfServingOptions:
    options = msgspec.convert(said, TfServingOptions, from_attributes=True)
    parts = options.release.split(".")
    if not (len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts) and len(options.release) <= 9):
        raise Unsupported(f"{options.release[:40]!r} is no release of TensorFlow Serving", hint="say --set release=2.19.1")
    for name, least, most in (("max_batch_size", 1, 2**16), ("batch_timeout_us", 0, 10**7)):
        value = getattr(options, name)
        if not least <= value <= most:
            raise Unsupported(f"{name} is {value}, of {least} to {most}", hint=f"say --set {name}={least}")
    return options


def _why_not(variant: Variant) -> str:
    if variant.runtime != "tensorflow":
        return f"its runtime is '{variant.runtime}', not TensorFlow"
    if variant.options.get("trusted_operations"):
        return "operations that a person trusted, which the server would run unasked"
    name = variant.options.get("signature", "serving_default")
    return "" if name == "serving_default" else f"it answers by the signature {name!r}, which clients would have to name"


def _models(job: DeployJob) -> dict[str, Value]:
    model = {"name": job.name, "base_path": f"{_MOUNT}/{job.name}", "model_platform": "tensorflow"}
    return {"model_config_list": {"config": [model]}}


def _batching(job: DeployJob, options: TfServingOptions) -> dict[str, Value]:
    threads = job.capacity.cores(job.demand.requests_per_second)
    return {
        "max_batch_size": {"value": options.max_batch_size},
        "batch_timeout_micros": {"value": options.batch_timeout_us},
        "max_enqueued_batches": {"value": 100},
        "num_batch_threads": {"value": threads},
    }


def _start(options: TfServingOptions, *, batching: bool) -> str:
    words = [
        f"--model_config_file={_MOUNT}/{_MODELS}",
        f"--monitoring_config_file={_MOUNT}/{_MONITORING}",
        "--rest_api_port=8501",
        "--port=8500",
    ]
    words += ["--enable_batching", f"--batching_parameters_file={_MOUNT}/{_BATCHING}"] if batching else []
    server = f"--entrypoint tensorflow_model_server tensorflow/serving:{options.release}"
    return f'docker run --rm -p 8500-8501:8500-8501 -v "$PWD":{_MOUNT}:ro {server} {" ".join(words)}'

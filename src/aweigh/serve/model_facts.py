"""What Triton's clients ask of a model beside its answers: statistics and configuration, in Triton's fields. The same at both doors."""

import time
from collections.abc import Mapping
from typing import Any, Final

from aweigh.core.errors import InvalidInput, Kind, Unsupported
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.engine.batching.facts import batch_facts
from aweigh.engine.model import LoadedModel
from aweigh.engine.pipelines.plan import Node
from aweigh.engine.statistics import ModelStatistics

_NS: Final = 1_000_000_000


def statistics_of(model: LoadedModel) -> dict[str, Any]:
    """Triton's ModelStatistics. What is not measured here (steps of each size of batch, memory) is there and empty."""
    return _told(model.name, model.version, model.statistics)


def _told(name: str, version: str, statistics: ModelStatistics) -> dict[str, Any]:
    done = statistics.total()
    return {
        "name": name,
        "version": version,
        "last_inference": _milliseconds_ago(done),
        "inference_count": done.rows,
        "execution_count": done.executions,
        "inference_stats": _inference(done),
        "response_stats": {},
        "batch_stats": [_batch(rows, int(count), seconds) for rows, (count, seconds, _) in sorted(done.batches.items())],
        "memory_usage": [],
    }


def statistics_with_steps(model: LoadedModel) -> list[dict[str, Any]]:
    """The same of a model, then of each step of a pipeline under `PIPELINE/STEP`."""
    named = [(f"{model.name}/{node.name}", node.statistics) for node in model.steps]
    return [_told(model.name, model.version, model.statistics), *(_told(name, model.version, done) for name, done in named)]


def _milliseconds_ago(done: ModelStatistics) -> int:
    """Wall-clock time of the last answer: requests themselves are timed by a clock that has no date."""
    return int((time.time() - (time.perf_counter() - done.last)) * 1000) if done.last else 0


def _inference(done: ModelStatistics) -> dict[str, Any]:
    """What the response cache answered was decoded and encoded all the same; only `compute_infer` is without it."""
    count, queued = done.succeeded, done.queued.sum_s
    whole = done.decoding_s + done.duration.sum_s + done.encoding_s + done.cache_miss_s
    failed = sum(number for kind, number in done.failed.items() if kind is not Kind.CANCELLED)
    return {
        "success": _span(count, whole),
        "fail": _span(failed, done.failed_s),
        "queue": _span(count, queued),
        "compute_input": _span(count, done.decoding_s),
        "compute_infer": _span(count - done.cache_hits, max(0.0, done.duration.sum_s - queued - done.cache_hit_s)),
        "compute_output": _span(count, done.encoding_s),
        "cache_hit": _span(done.cache_hits, done.cache_hit_s),
        "cache_miss": _span(done.cache_misses, done.cache_miss_s),
    }


def _batch(rows: int, count: int, seconds: float) -> dict[str, Any]:
    unmeasured = _span(0, 0.0)
    return {"batch_size": rows, "compute_input": unmeasured, "compute_infer": _span(count, seconds), "compute_output": unmeasured}


def _span(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": int(seconds * _NS)}


def config_of(model: LoadedModel, max_rows: int) -> dict[str, Any]:
    """The model as a Triton configuration: without its batch axis where it has one, and how it is run under `parameters`."""
    signature, report, batch = model.signature, model.report, batch_facts(model, model.statistics)
    facts: Mapping[str, str] = {
        "variant": model.variant.name,
        "variant_reason": report.variant_why,
        "precision": model.variant.precision,
        "executor": report.executor,
        "executor_reason": report.why,
        "inline_rows": str(model.inline_rows if model.threads is not None else max_rows),
        "batch_limit_rows": str(batch.limit_rows),
        "batch_limit_reason": batch.why,
        "batch_rows": str(batch.chosen_rows),
        "batch_reason": batch.chosen_why,
        "response_cache_reason": _caching(model),
        "weights": report.weights,
        "digest": model.digest,
        **_processes(model),
        **{f"step_{node.name}": _step(node) for node in model.steps},
    }
    return {
        "name": model.name,
        "platform": f"aweigh_{model.variant.runtime}",
        "backend": model.variant.runtime,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": max_rows if signature.batched else 0,
        "input": [_tensor(spec, signature) for spec in signature.inputs],
        "output": [_tensor(spec, signature) for spec in signature.outputs],
        "instance_group": [{"name": model.name, "kind": "KIND_CPU", "count": 1}],
        "parameters": {name: {"string_value": text} for name, text in facts.items()},
        "model_transaction_policy": {"decoupled": False},
        "response_cache": {"enable": model.responses is not None},
    }


def _step(node: Node) -> str:
    """A step of a pipeline in one line: what it is, what it takes, and how it runs."""
    takes = ", ".join(feed.source for feed in node.step.inputs)
    report = node.model.report if node.model is not None else None
    how = f"{report.executor}: {report.why}; at most {report.batch_rows} rows together: {report.batching}" if report else "inline: built in"
    return "; ".join(each for each in (f"{node.step.runs} of {takes}", node.step.rows, how) if each)


def _caching(model: LoadedModel) -> str:
    """Why answers are given again to equal requests, or why not."""
    if model.responses is not None:
        return "its evidence says that it answers the same bytes twice"
    return model.report.uncached or "response_cache_bytes is 0"


def _processes(model: LoadedModel) -> dict[str, str]:
    """The processes that a model runs in, where it has any of its own."""
    facts = model.processes
    if facts is None:
        return {}
    pids = " ".join(map(str, facts.pids))
    return {"process_pids": pids, "process_restarts": str(facts.restarts), "process_last_death": facts.last_death}


def _tensor(spec: TensorSpec, signature: Signature) -> dict[str, Any]:
    datatype = "STRING" if spec.datatype is Datatype.BYTES else spec.datatype.value
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": spec.wire_shape[1:] if signature.batched else spec.wire_shape}


def requested_version(parameters: Mapping[str, object]) -> int | None:
    """The version that a load asks for by the parameter `version`; None for the newest. Raises InvalidInput, Unsupported for Triton's own forms."""
    for name, value in sorted(parameters.items()):
        if name == "config" or name.startswith("file:"):
            raise Unsupported(
                f"a model is loaded from the store: the parameter '{name[:40]}' is not taken", hint="publish a package, then load it"
            )
        if name == "version" and not str(value).isdigit():
            raise InvalidInput(f"version {str(value)[:40]!r} is no number", hint="leave it out for the newest")
    version = parameters.get("version")
    return int(str(version)) if version is not None else None

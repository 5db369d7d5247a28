"""The verb `pack_pipeline`: a definition and the packages it names become a proven draft. Called by `app`; publishes nothing.

The parts are packages of the store, so they are loaded here; a person's functions only ever run in capped children.
"""

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np

from aweigh.core.errors import AweighError, FileMissing, InvalidInput, NotTrusted, ProofFailed, TooLarge
from aweigh.core.evidence import Evidence, Strength
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.names import Digest, Reference, model_name, parse_reference
from aweigh.core.package import FORMAT_VERSION as PACKAGE_VERSION
from aweigh.core.package import Hooks, PackageManifest, Part, Provenance, Variant
from aweigh.core.pipeline import FORMAT_VERSION, FUNCTION_RUNTIME, PIPELINE_FILE, PIPELINE_RUNTIME, REQUEST, Feed, Graph, Step, encode_graph
from aweigh.core.pipeline_checks import Flows, follow, trace
from aweigh.core.protocols import Draft, PackageHandle, PackageSource, Session
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Tensor, Tensors, datatype_of
from aweigh.engine.pipelines.open import FunctionPackage, open_alone, open_proven, signature_of
from aweigh.engine.pipelines.plan import Flow, Member, PipelineSession, Plan
from aweigh.engine.variants import choose_variant
from aweigh.isolate import Worker
from aweigh.packing.assemble import provenance
from aweigh.packing.job import PackRequest
from aweigh.packing.pipeline_file import Definition, StepText
from aweigh.packing.pipeline_graph import combine_of, condition_of, feeds_of, in_order, otherwise_of, outputs_of, request_names, source_of
from aweigh.packing.pipeline_sample import Requests, requests_of
from aweigh.runtimes.function import FUNCTION_OPTION

FUNCTIONS_FOLDER: Final = "functions"
_MAX_FUNCTION_BYTES: Final = 1024 * 1024
_PLACEHOLDER: Final = "?"
_TIMED_CALLS: Final = 20


class ProveLoaded(Protocol):
    """Checks a variant whose session `load` gives; `verify.prove_loaded` is one."""

    def __call__(
        self,
        variant: Variant,
        signature: Signature,
        golden: "list[GoldenAnswers]",
        load: Callable[[], Session],
        *,
        path: Callable[[str], Path],
        strength: Strength,
        data: str,
    ) -> Evidence: ...


def pack_pipeline(
    definition: Definition, folder: Path, request: PackRequest, parts: PackageSource, prove: ProveLoaded, *, source: Path | None
) -> Draft:
    """Pack a pipeline whose functions lie in `folder`. `source` is the file it was read from, None for one that was made in Python.

    Raises InvalidInput, ModelNotFound, NotTrusted for functions of a file that nobody trusts, ProofFailed.
    """
    _check_request(definition, request, source)
    with contextlib.ExitStack() as stack:
        return _Packing(definition, folder, request, parts, prove, stack).draft(source)


def _check_request(definition: Definition, request: PackRequest, source: Path | None) -> None:
    functions = [step for step in definition.step if step.function]
    if functions and source is not None and not request.trust:
        raise NotTrusted(
            f"{source.name}: step '{functions[0].name}' runs code from {functions[0].function.rpartition(':')[0]}",
            hint="pass --trust if you wrote it, or trust whoever did",
        )
    for given, name in (
        (request.pre, "--pre"),
        (request.post, "--post"),
        (request.labels, "--labels"),
        (request.padding, "--pad"),
        (request.tolerances, "--tolerance"),
    ):
        if given:
            raise InvalidInput(f"a pipeline takes no {name}", hint="a function is a step of it; labels and padding belong to its parts")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """The whole, ready to run: once for the proof, and once for the times of its steps."""

    graph: Graph
    plan: Plan
    timed: Plan


class _Packing:
    """One pipeline that is being packed. What it opens is closed by `stack`."""

    def __init__(
        self, definition: Definition, folder: Path, request: PackRequest, parts: PackageSource, prove: ProveLoaded, stack: contextlib.ExitStack
    ) -> None:  # fmt: skip
        self._definition = definition
        self._folder = folder
        self._request = request
        self._prove = prove
        self._stack = stack
        self._texts = in_order(definition)
        self._handles: dict[str, PackageHandle] = {}
        self._sessions: dict[str, Session] = {}
        self._files: dict[str, Path] = {}
        self._golden: dict[str, bytes] = {}
        self._steps: list[Step] = []
        for text in self._texts:
            if sum(bool(each) for each in (text.model, text.function, text.combine)) != 1:
                raise InvalidInput(f"step '{text.name}' must have one of model, function and combine", hint='such as model = "fraud"')
            if text.model:
                request.progress(f"opening {text.model}")
                self._handles[text.name] = handle = parts.open(parse_reference(text.model))
                chosen = choose_variant(handle.manifest, environments=request.environments)
                self._sessions[text.name] = open_proven(handle, chosen, environments=request.environments)
                stack.callback(self._sessions[text.name].close)

    def draft(self, source: Path | None) -> Draft:
        """The whole of it."""
        requests = self._requests()
        for text in self._texts:
            self._steps.append(self._step(text, requests))
        outputs = outputs_of(self._definition, self._steps, self._gives, self._resolver("[outputs]"))
        graph = Graph(format_version=FORMAT_VERSION, steps=tuple(self._steps), outputs=outputs)
        flows = trace(graph, requests.signature.inputs, self._signature)
        signature = signature_of(graph, flows, requests.signature)
        plan = self._plan(graph, signature, flows)
        variant = Variant(name="pipeline", runtime=PIPELINE_RUNTIME, precision="mixed", files=(PIPELINE_FILE, *self._files))
        self._request.progress("running the parts")
        golden = _answers(plan, requests)
        cases, files = golden_files(signature, golden)
        evidence = self._evidence(
            variant, signature, golden, _Trial(plan=plan, timed=self._plan(graph, signature, flows), graph=graph), requests
        )
        manifest = PackageManifest(
            format_version=PACKAGE_VERSION,
            signature=signature,
            variants=(_with(variant, evidence),),
            golden=cases,
            provenance=self._provenance(source),
            hooks=Hooks(files=tuple(self._files)),
            licence=self._request.licence,
            description=self._request.description or self._definition.description,
            parts=graph.parts,
        )
        return Draft(manifest=manifest, files={**files, **self._golden, **self._files, PIPELINE_FILE: encode_graph(graph)})

    def _requests(self) -> Requests:
        def known(step: StepText) -> Signature | None:
            return self._handles[step.name].manifest.signature if step.name in self._handles else None

        names = request_names(self._definition, known)
        consumers: list[tuple[PackageHandle, dict[str, str]]] = []
        for text in self._texts:
            if text.name in self._handles:
                feeds = feeds_of(text, known(text), self._resolver(f"step '{text.name}'", loose=True))
                taken = {feed.tensor: feed.source.partition(".")[2] for feed in feeds if feed.source.startswith(f"{REQUEST}.")}
                consumers.append((self._handles[text.name], taken))
        return requests_of(names, self._definition, consumers, self._request.sample)

    def _resolver(self, place: str, *, loose: bool = False) -> Callable[[str], str]:
        """What turns a text into a source; `loose` before functions are known."""
        names = [text.name for text in self._texts]
        return lambda text: source_of(text, names, self._known if loose else self._gives, self._definition, place)

    def _known(self, step: str) -> tuple[str, ...] | None:
        handle = self._handles.get(step)
        return tuple(spec.name for spec in handle.manifest.signature.outputs) if handle is not None else None

    def _gives(self, step: str) -> tuple[str, ...] | None:
        found = next((each for each in self._steps if each.name == step), None)
        if found is not None and found.combine is not None:
            return ("output",)
        return self._known(step)

    def _signature(self, step: Step) -> Signature:
        return self._handles[step.name].manifest.signature

    def _step(self, text: StepText, requests: Requests) -> Step:
        resolve = self._resolver(f"step '{text.name}'")
        handle = self._handles.get(text.name)
        step = Step(
            name=text.name,
            inputs=feeds_of(text, handle.manifest.signature if handle is not None else None, resolve),
            part=_part(handle) if handle is not None else None,
            combine=combine_of(text),
            weights=tuple(text.weights),
            when=condition_of(text, resolve),
            otherwise=otherwise_of(text),
        )
        return self._function(text, step, requests) if text.function else step

    def _function(self, text: StepText, step: Step, requests: Requests) -> Step:
        """A Python step: what it gives is found by calling it with the sample; then it is proven by itself."""
        self._request.progress(f"running {text.function}")
        path, file = self._code(text)
        feeds, flows = self._fed(text, step, requests)
        given = {feed.tensor: flows.tensors[feed.source].spec for feed in step.inputs}
        called = f"{path.name}:{text.function.rpartition(':')[2]}"
        outputs = self._asked(text, path, called, feeds)
        signature = Signature(
            inputs=tuple(_renamed(spec, name) for name, spec in given.items()),
            outputs=tuple(
                TensorSpec(name=name, datatype=datatype_of(each), shape=(BATCH, *map(int, each.shape[1:])))
                for name, each in outputs.items()
            ),
        )
        cases = [GoldenAnswers(name=f"step-{step.name}", why="rows of the sample", inputs=feeds, outputs=list(outputs.values()))]
        golden, files = golden_files(signature, cases)
        self._golden |= files
        variant = Variant(name="python", runtime=FUNCTION_RUNTIME, precision="python", files=(file,), options={FUNCTION_OPTION: called})
        manifest = PackageManifest(
            format_version=PACKAGE_VERSION,
            signature=signature,
            variants=(variant,),
            golden=golden,
            provenance=Provenance(framework="python"),
        )
        package = FunctionPackage(
            reference=Reference(name=model_name(step.name)), digest=Digest(""), manifest=manifest, path=lambda _: path
        )
        evidence = self._prove(
            variant,
            signature,
            cases,
            lambda: open_alone(package, variant),
            path=package.path,
            strength=requests.strength,
            data=requests.data,
        )
        if not evidence.passed:
            failed = next(check for check in evidence.checks if not check.passed)
            raise ProofFailed(
                f"step '{step.name}': {called} does not answer alike twice: {failed.name} {failed.note}",
                hint="a function must depend on its inputs alone",
            )
        manifest = msgspec.structs.replace(manifest, variants=(_with(variant, evidence),))
        self._handles[step.name] = dataclasses.replace(package, manifest=manifest)
        self._sessions[step.name] = open_alone(self._handles[step.name], variant)
        self._stack.callback(self._sessions[step.name].close)
        return msgspec.structs.replace(step, function=manifest)

    def _code(self, text: StepText) -> tuple[Path, str]:
        """The function's file, and its path in the package. Raises InvalidInput, FileMissing, TooLarge."""
        name, colon, function = text.function.rpartition(":")
        if not colon or not name.endswith(".py") or not function.isidentifier() or not function.isascii():
            raise InvalidInput(f"step '{text.name}': function = '{text.function}' is not of the form FILE.py:FUNCTION")
        path = self._folder / name
        if not path.is_file() or path.is_symlink():
            raise FileMissing(f"step '{text.name}': there is no file {path}", hint="functions lie beside the pipeline's own file")
        if path.stat().st_size > _MAX_FUNCTION_BYTES:
            raise TooLarge(f"step '{text.name}': {path} has {path.stat().st_size} bytes", hint=f"{_MAX_FUNCTION_BYTES} at most")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}", path.name, re.ASCII):
            raise InvalidInput(
                f"step '{text.name}': {path.name!r} is no name for a file that rides along", hint="letters, digits, '_' and '-'"
            )
        file = f"{FUNCTIONS_FOLDER}/{path.name}"
        if self._files.get(file, path) != path:
            file = f"{FUNCTIONS_FOLDER}/{text.name}-{path.name}"
        self._files[file] = path
        return path, file

    def _fed(self, text: StepText, step: Step, requests: Requests) -> tuple[dict[str, Tensor], Flows]:
        """What a step is given of the sample, once the steps before it have run."""
        stand_in = Signature(
            inputs=tuple(
                TensorSpec(name=feed.tensor, datatype=spec.datatype, shape=spec.shape) for feed, spec in self._specs(step, requests)
            ),
            outputs=(TensorSpec(name=_PLACEHOLDER, datatype=requests.signature.inputs[0].datatype, shape=(BATCH,)),),
        )
        shown = msgspec.structs.replace(
            step,
            function=PackageManifest(
                format_version=PACKAGE_VERSION, signature=stand_in, variants=(), golden=(), provenance=Provenance(framework="")
            ),
        )
        steps = (*self._steps, shown)
        flows = follow(steps, requests.signature.inputs, lambda each: stand_in if each.name == step.name else self._signature(each))
        graph = Graph(format_version=FORMAT_VERSION, steps=steps, outputs=())
        plan = self._plan(graph, requests.signature, flows, gives={step.name: (_PLACEHOLDER,)})
        flow = Flow(plan, requests.cases[0].inputs)
        plan.advance(flow, plan.nodes[:-1])
        if not flow.rows_of(plan.nodes[-1]):
            raise InvalidInput(
                f"step '{text.name}': no row of the sample comes to it ({step.rows})", hint="give a --sample that has such rows"
            )
        return flow.feeds(plan.nodes[-1]), flows

    def _specs(self, step: Step, requests: Requests) -> list[tuple[Feed, TensorSpec]]:
        flows = follow(self._steps, requests.signature.inputs, self._signature).tensors if self._steps else {}
        known = {f"{REQUEST}.{spec.name}": spec for spec in requests.signature.inputs} | {
            source: flowing.spec for source, flowing in flows.items()
        }
        for feed in step.inputs:
            if feed.source not in known:
                raise InvalidInput(f"step '{step.name}': there is no '{feed.source}' before it")
        return [(feed, known[feed.source]) for feed in step.inputs]

    def _asked(self, text: StepText, path: Path, called: str, feeds: Tensors) -> dict[str, Tensor]:
        worker = Worker(
            "aweigh.runtimes.function:open_function", {"file": str(path.absolute()), "function": called}, caps=self._request.caps
        )
        try:
            outputs = worker.request({}, feeds)[1]
        finally:
            worker.close()
        rows = len(next(iter(feeds.values())))
        for name, output in outputs.items():
            if not output.ndim or len(output) != rows:
                raise InvalidInput(
                    f"step '{text.name}': {called} gave {list(output.shape)} as '{name}' for {rows} rows",
                    hint="it must give one row for each row",
                )
        return {name: np.array(output) for name, output in outputs.items()}

    def _plan(self, graph: Graph, signature: Signature, flows: Flows, *, gives: Mapping[str, tuple[str, ...]] | None = None) -> Plan:
        members = {
            name: Member(run=session.run, gives=tuple(spec.name for spec in self._handles[name].manifest.signature.outputs))
            for name, session in self._sessions.items()
        }
        members |= {name: Member(run=_nothing, gives=names) for name, names in (gives or {}).items()}
        return Plan("pipeline", graph, signature, flows, members, {})

    def _evidence(
        self, variant: Variant, signature: Signature, golden: list[GoldenAnswers], trial: "_Trial", requests: Requests
    ) -> Evidence:
        graph_file = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="aweigh-pack-"))) / PIPELINE_FILE
        graph_file.write_bytes(encode_graph(trial.graph))
        self._request.progress("proving the whole")
        evidence = self._prove(
            variant,
            signature,
            golden,
            lambda: PipelineSession(trial.plan, lambda: None, concurrent=False, isolated=False),
            path=lambda file: self._files.get(file, graph_file),
            strength=requests.strength,
            data=requests.data,
        )
        if not evidence.passed:
            failed = next(check for check in evidence.checks if not check.passed)
            raise ProofFailed(
                f"the pipeline does not answer alike twice: {failed.name} {failed.note}", hint="one of its steps is not deterministic"
            )
        return msgspec.structs.replace(evidence, figures={**evidence.figures, **_step_times(trial.timed, requests)})

    def _provenance(self, source: Path | None) -> Provenance:
        made = provenance(self._request, source, "pipeline", {})
        return msgspec.structs.replace(made, trusted=bool(self._files))


def _part(handle: PackageHandle) -> Part:
    return Part(name=handle.reference.name, version=handle.reference.version or 1, digest=handle.digest)


def _answers(plan: Plan, requests: Requests) -> list[GoldenAnswers]:
    """The parts' own answers. A case that a part refuses is left out, except the first, which must be answered."""
    found = []
    for number, case in enumerate(requests.cases):
        try:
            outputs = plan.run(case.inputs, plan.uncounted())
        except AweighError:
            if not number:
                raise
            continue
        found.append(dataclasses.replace(case, outputs=outputs))
    return found


def _step_times(plan: Plan, requests: Requests) -> dict[str, float]:
    """What each step takes with one row, in microseconds: a call that is warm, the steps one after the other."""
    one = {name: tensor[:1] for name, tensor in requests.cases[0].inputs.items()}
    for _ in range(_TIMED_CALLS):
        plan.run(one)
    return {
        f"step_us_{node.name}": round(node.statistics.duration.sum_s / node.statistics.executions * 1e6, 1)
        for node in plan.nodes
        if node.statistics.executions
    }


def _with(variant: Variant, evidence: Evidence) -> Variant:
    return msgspec.structs.replace(variant, evidence=evidence)


def _renamed(spec: TensorSpec, name: str) -> TensorSpec:
    return TensorSpec(name=name, datatype=spec.datatype, shape=spec.shape)


def _nothing(_: Tensors) -> list[Tensor]:
    return []

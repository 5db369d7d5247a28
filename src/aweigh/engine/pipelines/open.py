"""Opening what a pipeline is made of: its graph, its parts and functions, and all of it as a session that needs no server around it.

Called by `load`, by `verify` and while packing. Nothing here waits for an event loop.
"""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from aweigh.core.errors import AweighError, InvalidFile, InvalidInput, ModelNotFound, Unsupported
from aweigh.core.golden import held_to
from aweigh.core.names import Digest, Reference
from aweigh.core.package import Hooks, PackageManifest, Part, Variant
from aweigh.core.pipeline import FUNCTION_RUNTIME, PIPELINE_RUNTIME, Graph, Step, read_graph
from aweigh.core.pipeline_checks import Flows, output_spec, trace
from aweigh.core.protocols import PackageHandle, Session, WithParts
from aweigh.core.replay import replay
from aweigh.core.signature import Signature
from aweigh.engine.pipelines.plan import Member, PipelineSession, Plan
from aweigh.engine.variants import choose_variant
from aweigh.isolate import Environments
from aweigh.runtimes.hooks import load_variant
from aweigh.runtimes.process import ProcessSession

_FUNCTION: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}:[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
MAX_DEPTH: Final = 8
"""Pipelines within pipelines."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FunctionPackage:
    """A Python step as the package that it is within its pipeline's; a `PackageHandle`."""

    reference: Reference
    digest: Digest
    manifest: PackageManifest
    path: Callable[[str], Path]


def members_of(handle: PackageHandle, graph: Graph) -> dict[str, PackageHandle]:
    """What runs each step that is a model or a function. Raises ModelNotFound, naming the part that is missing, InvalidFile."""
    found: dict[str, PackageHandle] = {}
    for step in graph.steps:
        if step.part is not None:
            if step.part not in handle.manifest.parts:
                raise InvalidFile(
                    f"{handle.reference}: step '{step.name}' is {step.part}, which its manifest does not name", hint="pack it again"
                )
            found[step.name] = open_part(handle, step.name, step.part)
        elif step.function is not None:
            code = {file for variant in step.function.variants for file in variant.files}
            if not code <= set(handle.manifest.hooks.files) or not _is_function(step.function):
                raise InvalidFile(f"{handle.reference}: the code of step '{step.name}' is not among its hooks", hint="pack it again")
            found[step.name] = FunctionPackage(reference=handle.reference, digest=handle.digest, manifest=step.function, path=handle.path)
    return found


def _is_function(manifest: PackageManifest) -> bool:
    """Whether it is what packing makes of a Python step: nothing of it may run anything but the one function."""
    if len(manifest.variants) != 1 or manifest.hooks != Hooks() or manifest.parts:
        return False
    variant = manifest.variants[0]
    return variant.runtime == FUNCTION_RUNTIME and bool(_FUNCTION.fullmatch(str(variant.options.get("function", ""))))


def open_part(handle: PackageHandle, step: str, part: Part) -> PackageHandle:
    """Raises ModelNotFound that names step and pipeline; Unsupported for a package that does not come from a store."""
    if not isinstance(handle, WithParts):
        raise Unsupported(f"{handle.reference} is a pipeline, which is loaded from a store alone", hint="pack or pull it first")
    try:
        return handle.part(part)
    except ModelNotFound as error:
        raise ModelNotFound(f"step '{step}' of pipeline '{handle.reference}': {error.message}", hint=error.hint) from error


def check_graph(handle: PackageHandle, graph: Graph, members: Mapping[str, PackageHandle]) -> Flows:
    """What flows through the pipeline. Raises InvalidFile where graph, parts and signature do not fit each other."""
    signature = handle.manifest.signature
    try:
        flows = trace(graph, signature.inputs, lambda step: members[step.name].manifest.signature)
    except InvalidInput as error:
        raise InvalidFile(f"{handle.reference}: {error.message}", hint="pack the pipeline again") from error
    made = [(output.name, flows.tensors[output.source].spec) for output in graph.outputs]
    if [(spec.name, spec.datatype) for spec in signature.outputs] != [(name, spec.datatype) for name, spec in made]:
        raise InvalidFile(f"{handle.reference}: its graph does not give what its signature says", hint="pack the pipeline again")
    return flows


def signature_of(graph: Graph, flows: Flows, inputs: Signature) -> Signature:
    """The pipeline's signature: what its inputs are is known, what it gives follows from the graph."""
    answered = [(output.name, flows.tensors[output.source]) for output in graph.outputs]
    meant = next((flowing for _, flowing in answered if flowing.spec.role), answered[0][1])
    return Signature(
        inputs=inputs.inputs,
        outputs=tuple(output_spec(name, flowing) for name, flowing in answered),
        task=meant.task,
        columns=inputs.columns,
        labels=meant.labels,
    )


def open_pipeline(handle: PackageHandle, *, in_child: bool = False, environments: Environments | None = None) -> PipelineSession:
    """A pipeline's session by itself: no queue, no statistics that anyone reads. Raises what loading a part raises, naming the step."""
    check_depth(handle)
    graph = read_graph(handle)
    handles = members_of(handle, graph)
    flows = check_graph(handle, graph, handles)
    sessions: dict[str, Session] = {}
    with contextlib.ExitStack() as stack:
        for step in graph.steps:
            if step.name in handles:
                member = handles[step.name]
                with naming(handle, step):
                    chosen = choose_variant(member.manifest, environments=environments)
                    sessions[step.name] = open_proven(member, chosen, in_child=in_child, environments=environments)
                stack.callback(sessions[step.name].close)
        members = {name: Member(run=session.run, gives=gives_of(handles[name])) for name, session in sessions.items()}
        plan = Plan(handle.reference.name, graph, handle.manifest.signature, flows, members, {})
        concurrent = all(session.concurrent for session in sessions.values())
        isolated = any(session.isolated for session in sessions.values())
        return PipelineSession(plan, stack.pop_all().close, concurrent=concurrent, isolated=isolated)


def is_pipeline(variant: Variant) -> bool:
    """Whether a variant is a graph of other packages."""
    return variant.runtime == PIPELINE_RUNTIME


def open_alone(handle: PackageHandle, variant: Variant, *, in_child: bool = False, environments: Environments | None = None) -> Session:
    """The session of any package, without a server around it: of a pipeline, a model or a function."""
    if is_pipeline(variant):
        return open_pipeline(handle, in_child=in_child, environments=environments)
    if variant.runtime == FUNCTION_RUNTIME and not in_child:
        return ProcessSession(handle.manifest, variant, handle.path, name=handle.reference.name)
    return load_variant(handle.manifest, variant, handle.path, in_child=in_child, environments=environments)


def open_proven(handle: PackageHandle, variant: Variant, *, in_child: bool = False, environments: Environments | None = None) -> Session:
    """The same, once it has answered its golden set on this machine: for parts, whose answers others build on. Raises GoldenMismatch."""
    session = open_alone(handle, variant, in_child=in_child, environments=environments)
    try:
        held = held_to(handle.manifest, variant, handle.path)
        replay(session, held.signature, held.golden)
    except BaseException:
        session.close()
        raise
    return session


def check_depth(handle: PackageHandle) -> None:
    """Raise Unsupported for more pipelines within each other than anyone needs; a part that is missing is named later."""
    levels: dict[Digest, int] = {}

    def depth(package: PackageHandle, above: int) -> None:
        if above >= MAX_DEPTH:
            raise Unsupported(f"{handle.reference}: more than {MAX_DEPTH} pipelines within each other", hint="make it flatter")
        if levels.get(package.digest, -1) >= above:
            return
        levels[package.digest] = above
        for part in package.manifest.parts:
            with contextlib.suppress(ModelNotFound):
                depth(open_part(package, part.name, part), above + 1)

    depth(handle, 0)


def gives_of(handle: PackageHandle) -> tuple[str, ...]:
    """The names of what a package gives, in order."""
    return tuple(spec.name for spec in handle.manifest.signature.outputs)


@contextlib.contextmanager
def naming(handle: PackageHandle, step: Step) -> Iterator[None]:
    """Whatever loading a step raises says which step it is."""
    try:
        yield
    except AweighError as error:
        raise error.saying(f"step '{step.name}' of pipeline '{handle.reference}' ({step.runs}): {error.message}") from error

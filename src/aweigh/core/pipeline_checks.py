"""Whether the graph of a pipeline holds together, and what flows through it. Called while packing, and again by whoever loads one.

Pure: knows signatures, runs nothing. Every refusal names the step and the tensor.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from aweigh.core.errors import InvalidInput
from aweigh.core.nearest import listed, nearest
from aweigh.core.pipeline import MAX_STEPS, OUTPUT, REQUEST, Combine, Condition, Graph, Operator, Step, needs, step_of
from aweigh.core.signature import BATCH, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype

_NAME: Final = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*", re.ASCII)
_MAX_NAME: Final = 64
_WIDTHS: Final = (*(each for each in Datatype if not each.is_float), Datatype.FP16, Datatype.BF16, Datatype.FP32, Datatype.FP64)
_MIXING: Final = frozenset({Combine.MEAN, Combine.WEIGHTED_MEAN, Combine.MAX, Combine.CONCAT})
"""Combinations that take floats of several widths, and give the widest."""
_BY_PLACE: Final = frozenset(Combine) - {Combine.CONCAT}
"""Combinations that take what stands at one place of each tensor for the same thing."""
Labels = tuple[str | int | float | bool, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flowing:
    """A tensor on its way: its form, which branch's rows it has ("" for all), and what it means."""

    spec: TensorSpec
    branch: str = ""
    task: Task = Task.GENERAL
    labels: Labels = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    """Everything that flows: tensors by source, and the branch that each step is on, by the name of the step that opened it."""

    tensors: Mapping[str, Flowing]
    branches: Mapping[str, str]


def check_step_name(name: str) -> None:
    """Raise InvalidInput for what no step is called."""
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name) or name == REQUEST:
        raise InvalidInput(
            f"{name[:_MAX_NAME]!r} is not the name of a step", hint=f"use lower-case letters, digits, '-' and '_'; '{REQUEST}' is taken"
        )


def trace(graph: Graph, inputs: tuple[TensorSpec, ...], signature_of: Callable[[Step], Signature]) -> Flows:
    """Follow every tensor from the request to the answer. Raises InvalidInput, naming step and tensor, where something does not fit."""
    flows = follow(graph.steps, inputs, signature_of)
    for output in graph.outputs:
        branch = find(flows.tensors, output.source, f"output '{output.name}'").branch
        if branch:
            raise InvalidInput(
                f"output '{output.name}' is {output.source}, which only has the rows of branch '{branch}'",
                hint='join the branches first: combine = "join"',
            )
    if not graph.outputs:
        raise InvalidInput("the pipeline answers nothing", hint="name its outputs under [outputs]")
    _check_read(graph)
    return flows


def follow(steps: Sequence[Step], inputs: tuple[TensorSpec, ...], signature_of: Callable[[Step], Signature]) -> Flows:
    """Follow every tensor through these steps, each after those that it takes from. Raises as `trace` does."""
    if not 0 < len(steps) <= MAX_STEPS:
        raise InvalidInput(f"a pipeline of {len(steps)} steps", hint=f"between 1 and {MAX_STEPS}")
    tracer = _Tracer(inputs)
    for step in steps:
        tracer.add(step, signature_of(step) if step.combine is None else None)
    return Flows(tensors=tracer.tensors, branches=tracer.branches)


def find(tensors: Mapping[str, Flowing], source: str, place: str) -> Flowing:
    """What flows under that name. Raises InvalidInput, saying what there is."""
    found = tensors.get(source)
    if found is None:
        near = nearest(source, tensors)
        known = f"did you mean '{near}'?" if near else f"there are: {', '.join(sorted(tensors)[:12])}"
        raise InvalidInput(f"{place}: there is no '{source}' before it", hint=known)
    return found


def _check_read(graph: Graph) -> None:
    """Every step must lead to the answer: one that nobody reads is a mistake that would cost time for ever."""
    steps = {step.name: step for step in graph.steps}
    read = {step_of(output.source) for output in graph.outputs}
    for step in reversed(graph.steps):
        if step.name not in read:
            raise InvalidInput(f"nothing reads step '{step.name}'", hint="name one of its outputs under [outputs], or leave the step out")
        read |= {step_of(source) for source in needs(step, steps)}


class _Tracer:
    def __init__(self, inputs: tuple[TensorSpec, ...]) -> None:
        self.tensors = {f"{REQUEST}.{spec.name}": Flowing(spec=spec) for spec in inputs}
        self.branches: dict[str, str] = {}
        self._steps: dict[str, Step] = {}

    def _find(self, source: str, place: str) -> Flowing:
        return find(self.tensors, source, place)

    def add(self, step: Step, signature: Signature | None) -> None:
        check_step_name(step.name)
        if step.name in self._steps:
            raise InvalidInput(f"two steps are named '{step.name}'", hint="give each its own name")
        if sum(each is not None for each in (step.part, step.function, step.combine)) != 1:
            raise InvalidInput(f"step '{step.name}' must be one of a model, a function or a combination")
        place = f"step '{step.name}'"
        taken = [self._find(feed.source, place) for feed in step.inputs]
        if not taken:
            raise InvalidInput(f"{place} is given nothing", hint="name what it takes: inputs = …")
        branch = "" if step.combine is Combine.JOIN else _branch_of(step, taken)
        branch = self._opened(step, place) if step.opens_branch else branch
        self.branches[step.name] = branch
        self._steps[step.name] = step
        made = self._combined(step, taken, branch) if signature is None else _answered(step, taken, signature, branch)
        self.tensors |= {f"{step.name}.{name}": flowing for name, flowing in made.items()}

    def _opened(self, step: Step, place: str) -> str:
        if step.combine is Combine.JOIN or (step.when is not None and step.otherwise):
            raise InvalidInput(f"{place} cannot have 'when' or 'otherwise'", hint="one of them, on a step that is no join")
        if step.when is not None:
            _check_condition(step.when, self._find(step.when.source, place), place)
        for other in step.otherwise:
            known = self._steps.get(other)
            if known is None or known.when is None:
                raise InvalidInput(f"{place}: otherwise = '{other}', which is no step with 'when' before it", hint="name such steps")
        return step.name

    def _combined(self, step: Step, taken: list[Flowing], branch: str) -> dict[str, Flowing]:
        if step.weights and (step.combine is not Combine.WEIGHTED_MEAN or len(step.weights) != len(taken)):
            raise InvalidInput(f"step '{step.name}' has {len(step.weights)} weights", hint="a weighted-mean takes one for each input")
        if step.combine is Combine.WEIGHTED_MEAN and (not step.weights or not sum(step.weights) > 0 or min(step.weights) < 0):
            raise InvalidInput(
                f"step '{step.name}': the weights {list(step.weights)} weigh nothing", hint="positive numbers, one for each input"
            )
        if len(taken) < 2:
            raise InvalidInput(f"step '{step.name}' combines {len(taken)} tensor", hint="give it two or more")
        if step.combine is Combine.JOIN:
            self._check_covered(step, taken)
        made = _combined_spec(step, taken)
        _check_order(step, taken)
        first = taken[0]
        alike = all(each.task is first.task and each.labels == first.labels for each in taken)
        return {OUTPUT: Flowing(spec=made, branch=branch, task=first.task if alike else Task.GENERAL, labels=first.labels if alike else ())}

    def _check_covered(self, step: Step, taken: list[Flowing]) -> None:
        """The branches that are joined must have every row between them, whatever the rows are."""
        branches = [flowing.branch for flowing in taken]
        if "" in branches or any((others := self._steps[branch].otherwise) and set(others) <= set(branches) for branch in branches):
            return
        raise InvalidInput(
            f"step '{step.name}' joins {', '.join(branches)}, which may leave rows out",
            hint=f"add a step with otherwise = {branches}, or end the inputs with a tensor that has every row",
        )


def _branch_of(step: Step, taken: list[Flowing]) -> str:
    found = {flowing.branch for flowing in taken} - {""}
    if len(found) > 1:
        raise InvalidInput(
            f"step '{step.name}' takes tensors of different branches: {', '.join(sorted(found))}", hint='join them first: combine = "join"'
        )
    if found and step.opens_branch:
        raise InvalidInput(
            f"step '{step.name}' would open a branch within branch '{min(found)}'", hint="pack the inner branch as a pipeline of its own"
        )
    return min(found, default="")


def _check_condition(condition: Condition, tested: Flowing, place: str) -> None:
    spec, text = tested.spec, str(condition)
    if tested.branch:
        raise InvalidInput(f"{place}: when = {text!r} asks of a tensor that only has the rows of branch '{tested.branch}'")
    tail = spec.shape[1:]
    fits = (
        len(tail) == 1 and isinstance(tail[0], int) and 0 <= (condition.column or 0) < tail[0]
        if condition.column is not None
        else tail in ((), (1,))
    )
    if not fits:
        raise InvalidInput(
            f"{place}: when = {text!r}: {condition.source} is {list(spec.shape)}", hint="one element a row: name[1] takes the second"
        )
    if len(condition.values) != 1 and condition.operator is not Operator.IN:
        raise InvalidInput(f"{place}: when = {text!r} compares with {len(condition.values)} values")
    words = spec.datatype is Datatype.BYTES
    if any(isinstance(value, str) is not words for value in condition.values):
        raise InvalidInput(f"{place}: when = {text!r}: {condition.source} holds {'texts' if words else 'numbers'}")
    if words and condition.operator not in (Operator.EQUAL, Operator.DIFFERENT, Operator.IN):
        raise InvalidInput(f"{place}: when = {text!r}: texts are compared by ==, != and in")


def _answered(step: Step, taken: list[Flowing], signature: Signature, branch: str) -> dict[str, Flowing]:
    """What a model or function gives, once what it is given fits."""
    if not signature.batched:
        raise InvalidInput(f"step '{step.name}': {step.runs} has no batch axis", hint="a step takes and gives one row for each row")
    given = [feed.tensor for feed in step.inputs]
    if len(set(given)) != len(given):
        raise InvalidInput(f"step '{step.name}' is given an input twice")
    missing = [spec.name for spec in signature.inputs if spec.name not in given]
    if missing:
        raise InvalidInput(f"step '{step.name}': nothing feeds its input '{missing[0]}'", hint=f"{step.runs} takes {_names(signature)}")
    for feed, flowing in zip(step.inputs, taken, strict=True):
        wanted = next((spec for spec in signature.inputs if spec.name == feed.tensor), None)
        if wanted is None:
            raise InvalidInput(f"step '{step.name}' has no input '{feed.tensor}'", hint=f"{step.runs} takes {_names(signature)}")
        if flowing.spec.datatype is not wanted.datatype or not fits(flowing.spec.shape, wanted.shape):
            raise InvalidInput(
                f"step '{step.name}': input '{feed.tensor}' is {wanted.datatype.value} {list(wanted.shape)}, and {feed.source} is "
                f"{flowing.spec.datatype.value} {list(flowing.spec.shape)}",
                hint="a Python function between them can change one into the other",
            )
    return {spec.name: Flowing(spec=spec, branch=branch, task=signature.task, labels=signature.labels) for spec in signature.outputs}


def fits(one: tuple[int | str, ...], other: tuple[int | str, ...]) -> bool:
    """Whether a tensor of one shape may be taken for the other: sizes are equal where both are fixed, and both have the batch first."""
    if len(one) != len(other) or not one or one[0] != BATCH or other[0] != BATCH:
        return False
    return all(mine == theirs or isinstance(mine, str) or isinstance(theirs, str) for mine, theirs in zip(one, other, strict=True))


def _names(signature: Signature) -> str:
    return ", ".join(f"'{spec.name}'" for spec in signature.inputs)


def _combined_spec(step: Step, taken: list[Flowing]) -> TensorSpec:
    first = taken[0].spec
    role = first.role if all(flowing.spec.role == first.role for flowing in taken) else ""
    place = f"step '{step.name}': {step.combine.value if step.combine else ''}"
    for feed, flowing in zip(step.inputs, taken, strict=True):
        spec = flowing.spec
        shapes = (
            (spec.shape[:-1], first.shape[:-1]) if step.combine is Combine.CONCAT and len(spec.shape) > 1 else (spec.shape, first.shape)
        )
        alike = spec.datatype is first.datatype or (step.combine in _MIXING and spec.datatype.is_float and first.datatype.is_float)
        if not alike or shapes[0] != shapes[1]:
            raise InvalidInput(
                f"{place} of {step.inputs[0].source}, {first.datatype.value} {list(first.shape)}, and {feed.source}, "
                f"{spec.datatype.value} {list(spec.shape)}",
                hint="they must have the same datatype and shape",
            )
    datatype, shape = (
        max((flowing.spec.datatype for flowing in taken), key=_WIDTHS.index) if first.datatype.is_float else first.datatype,
        first.shape,
    )
    if step.combine in (Combine.MEAN, Combine.WEIGHTED_MEAN, Combine.MAX) and datatype in (Datatype.BYTES, Datatype.BOOL):
        raise InvalidInput(f"{place} of {datatype.value} is nothing", hint="vote takes labels of any kind")
    if step.combine in (Combine.MEAN, Combine.WEIGHTED_MEAN) and not datatype.is_float:
        datatype = Datatype.FP64
    if step.combine is Combine.CONCAT:
        role, shape = "", _side_by_side([flowing.spec.shape for flowing in taken], place)
    return TensorSpec(name=OUTPUT, datatype=datatype, shape=shape, role=role)


def _check_order(step: Step, taken: list[Flowing]) -> None:
    """Probabilities stand in the order of their model's labels: in another order they are of other classes."""
    if step.combine not in _BY_PLACE:
        return
    named = [
        (feed.source, flowing.labels)
        for feed, flowing in zip(step.inputs, taken, strict=True)
        if flowing.spec.role == "probability" and flowing.labels
    ]
    for source, labels in named[1:]:
        first, expected = named[0]
        if labels != expected:
            raise InvalidInput(
                f"step '{step.name}': {step.combine.value if step.combine else ''} of probabilities whose labels differ: "
                f"{first} is of {_listed(expected)}, and {source} of {_listed(labels)}",
                hint="a Python function between them can bring the columns of one into the order of the other",
            )


def _listed(labels: Labels) -> str:
    return listed([repr(label) for label in labels])


def _side_by_side(shapes: list[tuple[int | str, ...]], place: str) -> tuple[int | str, ...]:
    sizes = [shape[-1] if len(shape) > 1 else 1 for shape in shapes]
    if not all(isinstance(size, int) for size in sizes):
        raise InvalidInput(f"{place} takes tensors whose last axis has a fixed size", hint=f"these are {[list(shape) for shape in shapes]}")
    front = shapes[0][:-1] if len(shapes[0]) > 1 else shapes[0]
    return (*front, sum(int(size) for size in sizes))


def output_spec(name: str, flowing: Flowing) -> TensorSpec:
    """An output of the pipeline as its signature shows it."""
    return msgspec.structs.replace(flowing.spec, name=name, padding=None)

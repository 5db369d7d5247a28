"""From what a person wrote of a pipeline to its graph: names become sources, conditions are parsed, steps are put in order. Runs nothing."""

import ast
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from aweigh.core.errors import InvalidInput
from aweigh.core.nearest import nearest
from aweigh.core.pipeline import OUTPUT, REQUEST, Combine, Condition, Feed, Operator, Output, Step, step_of
from aweigh.core.pipeline_checks import check_step_name
from aweigh.core.signature import Signature
from aweigh.packing.pipeline_file import Definition, StepText

_CONDITION: Final = re.compile(
    r"\s*(?P<source>\S+?)\s*(\[\s*(?P<column>\d+)\s*\])?\s*(?P<operator>==|!=|<=|>=|<|>|\bin\b)\s*(?P<value>.+?)\s*"
)
_BARE: Final = re.compile(r"[A-Za-z_][\w.-]*")
Gives = Callable[[str], tuple[str, ...] | None]
"""The names of what a step gives; None where they are not known yet."""


def in_order(definition: Definition) -> list[StepText]:
    """The steps, each after those that it takes from. Raises InvalidInput for steps in a circle, or two of one name."""
    steps = {step.name: step for step in definition.step}
    if len(steps) != len(definition.step):
        double = next(step.name for step in definition.step if sum(step.name == other.name for other in definition.step) > 1)
        raise InvalidInput(f"two steps are named '{double}'", hint="give each its own name")
    done: list[StepText] = []
    under_way: list[str] = []

    def visit(name: str) -> None:
        if name in under_way:
            circle = " -> ".join([*under_way[under_way.index(name) :], name])
            raise InvalidInput(f"the steps go in a circle: {circle}", hint="a step takes from steps before it")
        if any(step.name == name for step in done):
            return
        under_way.append(name)
        for before in _before(steps[name], steps):
            visit(before)
        under_way.pop()
        done.append(steps[name])

    for name in steps:
        check_step_name(name)
        visit(name)
    return done


def _before(step: StepText, steps: Iterable[str]) -> list[str]:
    texts = [*source_texts(step), *([_split(step.when, step.name)[0]] if step.when else []), *_listed(step.otherwise)]
    return list(dict.fromkeys(text.partition(".")[0] for text in texts if text.partition(".")[0] in steps))


def source_texts(step: StepText) -> list[str]:
    """Where a step's inputs come from, as written."""
    return list(step.inputs.values()) if isinstance(step.inputs, dict) else _listed(step.inputs)


def request_names(definition: Definition, signature_of: Callable[[StepText], Signature | None]) -> list[str]:
    """The tensors of a request, in the order in which steps take them."""
    steps = {step.name for step in definition.step}
    found: dict[str, None] = {}
    for step in in_order(definition):
        signature = signature_of(step)
        texts = source_texts(step)
        if not texts and signature is not None:
            texts = [f"{REQUEST}.{spec.name}" for spec in signature.inputs]
        texts += [_split(step.when, step.name)[0]] if step.when else []
        for text in texts:
            source = source_of(text, steps, lambda _: None, definition, f"step '{step.name}'")
            if step_of(source) == REQUEST:
                found.setdefault(source.partition(".")[2])
    return list(found)


def source_of(text: str, steps: Iterable[str], gives: Gives, definition: Definition, place: str) -> str:
    """The source that a text means: `STEP.OUTPUT`, `STEP` for its only output, or a tensor of the request. Raises InvalidInput."""
    step, dot, output = text.partition(".")
    if step in steps:
        known = gives(step)
        if not dot and known is not None and len(known) != 1:
            raise InvalidInput(f"{place}: step '{step}' gives {', '.join(known)}", hint=f"say which: {step}.{known[0]}")
        if dot and known is not None and output not in known:
            near = nearest(output, known)
            hint = f"did you mean '{step}.{near}'?" if near else f"it gives: {', '.join(known)}"
            raise InvalidInput(f"{place}: step '{step}' gives no '{output}'", hint=hint)
        return text if dot else f"{step}.{known[0]}" if known else f"{step}."
    if step == REQUEST and dot:
        return text
    if dot and text not in definition.inputs:
        near = nearest(step, list(steps))
        raise InvalidInput(
            f"{place}: there is no step '{step}' that '{text}' could come from",
            hint=f"did you mean '{near}.{output}'?" if near else f"a tensor of the request is written {REQUEST}.{text}",
        )
    return f"{REQUEST}.{text}"


def feeds_of(step: StepText, signature: Signature | None, resolve: Callable[[str], str]) -> tuple[Feed, ...]:
    """A step's inputs by name. `signature` is a model's; None for a function or a combination."""
    if step.combine:
        if isinstance(step.inputs, dict):
            raise InvalidInput(f"step '{step.name}': what is combined has no names", hint='inputs = ["a.probability", "b.probability"]')
        return tuple(Feed(source=resolve(text)) for text in _listed(step.inputs))
    if isinstance(step.inputs, dict):
        return tuple(Feed(tensor=name, source=resolve(text)) for name, text in step.inputs.items())
    texts = _listed(step.inputs)
    if signature is None:
        sources = [resolve(text) for text in texts]
        return tuple(Feed(tensor=source.partition(".")[2], source=source) for source in sources)
    names = [spec.name for spec in signature.inputs]
    if not texts:
        return tuple(Feed(tensor=name, source=f"{REQUEST}.{name}") for name in names)
    if len(texts) != len(names):
        raise InvalidInput(
            f"step '{step.name}' is given {len(texts)} tensors, and {step.model} takes {', '.join(names)}",
            hint="inputs = { NAME = FROM, … }",
        )
    return tuple(Feed(tensor=name, source=resolve(text)) for name, text in zip(names, texts, strict=True))


def combine_of(step: StepText) -> Combine | None:
    """The built-in step, if it is one. Raises InvalidInput with the nearest."""
    if not step.combine:
        return None
    try:
        return Combine(step.combine)
    except ValueError:
        near = nearest(step.combine, list(Combine))
        raise InvalidInput(
            f"step '{step.name}': combine = '{step.combine}' is none",
            hint=f"did you mean '{near}'?" if near else f"there are: {', '.join(Combine)}",
        ) from None


def condition_of(step: StepText, resolve: Callable[[str], str]) -> Condition | None:
    """`when`, parsed. Raises InvalidInput."""
    if not step.when:
        return None
    source, column, operator, value = _split(step.when, step.name)
    values = _value(value, step)
    found = values if isinstance(values, list) else [values]
    if not found or (isinstance(values, list) is not (operator is Operator.IN)):
        raise InvalidInput(
            f"step '{step.name}': when = {step.when!r}", hint="such as \"fraud.label == 1\", or \"country.label in ['de', 'fr']\""
        )
    return Condition(source=resolve(source), operator=operator, values=tuple(found), column=column)


def _split(text: str, step: str) -> tuple[str, int | None, Operator, str]:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise InvalidInput(
            f"step '{step}': when = {text!r} is no condition", hint='such as "fraud.label == 1" or "score.probability[1] > 0.5"'
        )
    column = int(found["column"]) if found["column"] is not None else None
    return found["source"], column, Operator(found["operator"]), found["value"]


def _value(text: str, step: StepText) -> int | float | str | bool | list[int | float | str | bool]:
    """A JSON value, with texts in either kind of quotes, or a bare word."""
    if text not in ("true", "false") and _BARE.fullmatch(text):
        return text
    found = _read(text)
    items = found if isinstance(found, list) else [found]
    if not all(math.isfinite(item) if isinstance(item, float) else isinstance(item, int | str) for item in items):
        raise InvalidInput(
            f"step '{step.name}': {text[:200]!r} in when = {step.when[:200]!r} is no value", hint="a number, a text in quotes, or [a list]"
        )
    value: int | float | str | bool | list[int | float | str | bool] = found
    return value


def _read(text: str) -> Any:
    """JSON as it stands, else with texts in single quotes; None for what is neither."""
    for read in (json.loads, ast.literal_eval, lambda other: json.loads(other.replace("'", '"'))):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # MemoryError: of Python's own parser, for what is nested too deep
            continue
    return None


def outputs_of(definition: Definition, steps: list[Step], gives: Gives, resolve: Callable[[str], str]) -> tuple[Output, ...]:
    """What is answered: as written, else what the only step gives that no other takes from."""
    if definition.outputs:
        return tuple(Output(name=name, source=resolve(text)) for name, text in definition.outputs.items())
    taken = {step_of(feed.source) for step in steps for feed in step.inputs} | {step_of(step.when.source) for step in steps if step.when}
    last = [step for step in steps if step.name not in taken]
    if len(last) != 1:
        raise InvalidInput(
            f"nothing is taken from steps {', '.join(step.name for step in last)}", hint="say what is answered, under [outputs]"
        )
    names = {feed.source.partition(".")[2] for feed in last[0].inputs}
    if last[0].combine is not None and len(names) == 1:  # labels that are combined are a label
        return (Output(name=names.pop(), source=f"{last[0].name}.{OUTPUT}"),)
    return tuple(Output(name=name, source=f"{last[0].name}.{name}") for name in gives(last[0].name) or ())


def _listed(text: str | list[str]) -> list[str]:
    return [text] if isinstance(text, str) and text else list(text)


def otherwise_of(step: StepText) -> tuple[str, ...]:
    """The steps whose rows this one does not take."""
    return tuple(_listed(step.otherwise))

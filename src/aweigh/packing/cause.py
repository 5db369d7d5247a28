"""Why a converted graph answers otherwise than its source: the first place where the two part, for the input on which they part furthest.

Called by the frameworks once a proof failed. What the source holds inside comes as `Inside`; without it, ONNX's reference evaluator tells a fault of
ONNX Runtime from one of the conversion. Finding a cause never fails: what cannot be found out is not said.
"""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from aweigh.core.compare import compare
from aweigh.core.errors import AweighError
from aweigh.core.evidence import Evidence
from aweigh.core.golden import GoldenAnswers
from aweigh.core.package import Variant
from aweigh.core.replay import describe_value
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Tensor, datatype_of
from aweigh.runtimes.onnxruntime_inside import inside as run_inside

MAX_BYTES: Final = 400 * 1024 * 1024
"""Of a model whose insides are looked at: giving every tensor out takes several times its memory."""
_NUMBER_BYTES: Final = 4
_SAID: Final = 160


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Landmark:
    """A value inside the source, and the tensor of the graph that stands for it."""

    place: str
    """In the source's own words: "layer 'encoder.0.linear1'"."""
    tensor: str
    expected: Tensor


Inside = Callable[[Any, Mapping[str, Tensor]], Sequence[Landmark]]
"""What the source holds inside for these inputs, at tensors of this graph (a ModelProto)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A variant in ONNX that failed its proof, with the input on which it fared worst and the source's answers to it."""

    proto: Any
    variant: Variant
    signature: Signature
    case: GoldenAnswers
    row: int
    """Of the case; the inputs are this row alone where that is enough to see the fault."""
    inputs: Mapping[str, Tensor]
    outputs: list[Tensor]

    @property
    def where(self) -> str:
        return f"case '{self.case.name}', row {self.row}"

    def answers(self, *, optimised: bool) -> dict[str, Tensor]:
        """The graph's answers, and all that it holds inside where it is not optimised."""
        proto = self.proto if optimised else opened(self.proto)
        return run_inside(proto.SerializeToString(), self.variant, self.signature, self.inputs, optimised=optimised)

    def agrees(self, answers: Mapping[str, Tensor]) -> bool:
        """Whether these are the source's answers."""
        return all(
            agrees(expected, answers[spec.name], spec)
            for spec, expected in zip(self.signature.outputs, self.outputs, strict=True)
            if spec.name in answers
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What was found."""

    words: str = ""
    """"" where it is not known."""
    optimisations: bool = False
    """Whether the graph answers rightly once ONNX Runtime leaves it as it is, which is the repair."""

    def __str__(self) -> str:
        """As the end of a sentence."""
        return f"; cause: {self.words}" if self.words else ""


def quietly(find: Callable[[], Cause]) -> Cause:
    """What `find` finds; nothing where it fails."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return find()
    except Exception:  # noqa: BLE001  # foreign graphs and libraries: without a cause the refusal still says what differs
        return Cause()


def graph_cause(
    file: Path, variant: Variant, signature: Signature, cases: Sequence[GoldenAnswers], evidence: Evidence, inside: Inside | None = None
) -> Cause:
    """Where a graph parts from its source."""

    def find() -> Cause:
        found = trouble(file, variant, signature, cases, evidence)
        return Cause() if found is None else _cause(found, inside)

    return quietly(find)


def less_optimised(variant: Variant, cause: Cause, prove: Callable[[Variant], Evidence]) -> list[tuple[Variant, Evidence]]:
    """The variant with its graph rewritten less, and what its proof says, up to one that passes: constants folded alone, then not at all.

    Empty where the optimisations are not the cause.
    """
    tries: list[tuple[Variant, Evidence]] = []
    for level in ("basic", "disabled") if cause.optimisations else ():
        repaired = msgspec.structs.replace(variant, options={**variant.options, "graph_optimization_level": level})
        tries.append((repaired, prove(repaired)))
        if tries[-1][1].passed:
            break
    return tries


def trouble(file: Path, variant: Variant, signature: Signature, cases: Sequence[GoldenAnswers], evidence: Evidence) -> Trouble | None:
    """The failed variant at its worst input; None where it raised, or is too large to look into."""
    parity = evidence.check("parity")
    worst = next((item for item in (parity.worst if parity else ()) if item.output), None)
    case = next((case for case in cases if worst is not None and case.name == worst.case), None)
    if worst is None or case is None:
        return None
    proto = onnx.load(str(file), load_external_data=False)
    if sum(_NUMBER_BYTES * int(np.prod(item.dims, dtype=np.int64)) for item in proto.graph.initializer) > MAX_BYTES:
        return None
    onnx.load_external_data_for_model(proto, str(file.parent))
    found = Trouble(
        proto=proto,
        variant=variant,
        signature=signature,
        case=case,
        row=worst.row,
        inputs=case.inputs,
        outputs=case.outputs,
    )
    if not signature.batched:
        return found
    at = slice(worst.row, worst.row + 1)
    alone = dataclasses.replace(
        found, inputs={name: tensor[at] for name, tensor in case.inputs.items()}, outputs=[tensor[at] for tensor in case.outputs]
    )
    return alone if not alone.agrees(alone.answers(optimised=True)) else found


def _cause(found: Trouble, inside: Inside | None) -> Cause:
    if found.agrees(found.answers(optimised=True)):
        return Cause()
    values = found.answers(optimised=False)
    if found.agrees(values):
        words = f"ONNX Runtime's optimisations change the answer: without them the graph answers as the source does ({found.where})"
        return Cause(words=words, optimisations=True)
    said = first_apart(found, inside(found.proto, found.inputs), values) if inside is not None else ""
    return Cause(words=said or _against_reference(found, values))


def first_apart(found: Trouble, landmarks: Sequence[Landmark], values: Mapping[str, Tensor]) -> str:
    """The first of the landmarks, in the order of the graph, whose value the graph does not have; "" where there is none to tell by.

    One that differs while what is computed from it agrees is none: converters fold layers into each other.
    """
    order = {name: at for at, node in enumerate(found.proto.graph.node) for name in node.output}
    known = sorted((mark for mark in landmarks if mark.tensor in values), key=lambda mark: order.get(mark.tensor, -1))
    right = {mark.tensor for mark in known if agrees(laid_out(mark.expected, values[mark.tensor]), values[mark.tensor])}
    proven = _before(found.proto, right)
    for at, mark in enumerate(known):
        if mark.tensor not in proven:
            actual = values[mark.tensor]
            said = _both(laid_out(mark.expected, actual), actual, "the source has", "the graph has")
            before = next((one for one in reversed(known[:at]) if one.tensor in right), None)
            since = f"; up to {before.place} the two agree" if before else ""
            return f"{mark.place} is the first that differs: {said}{_at(found, mark.tensor)}{since}"
    last = next((mark for mark in reversed(known) if mark.tensor in right), None)
    return f"what comes after {last.place}: up to there the graph has what the source has ({found.where})" if last else ""


def _before(proto: Any, tensors: set[str]) -> set[str]:
    """These tensors and all that they are computed from."""
    found = set(tensors)
    for node in reversed(proto.graph.node):
        if found.intersection(node.output):
            found.update(node.input)
    return found


def laid_out(expected: Tensor, actual: Tensor) -> Tensor:
    """Pictures as the graph has them, where it has their channels first and the source last."""
    if expected.ndim == 4 and expected.shape != actual.shape == expected.transpose(0, 3, 1, 2).shape:
        return expected.transpose(0, 3, 1, 2)
    return expected


def _against_reference(found: Trouble, values: Mapping[str, Tensor]) -> str:
    """Whether ONNX Runtime computes what the graph says."""
    evaluator = ReferenceEvaluator(found.proto)
    feeds = {name: np.array(tensor, copy=True) for name, tensor in found.inputs.items()}
    reference: Any = evaluator.run(None, feeds, intermediate=True)
    marks = [
        Landmark(place=f"node '{node.name or node.output[0]}' ({node.op_type})", tensor=name, expected=reference[name])
        for node in found.proto.graph.node
        for name in node.output
        if isinstance(reference.get(name), np.ndarray)
    ]
    for mark in marks:
        actual = values.get(mark.tensor)
        if actual is not None and not agrees(mark.expected, actual):
            return f"{mark.place} in ONNX Runtime: {_both(mark.expected, actual, 'ONNX says', 'it answers')} ({found.where})"
    return (
        f"the conversion: ONNX's reference evaluator answers as ONNX Runtime does, so the graph itself says something else ({found.where})"
    )


def agrees(expected: Tensor, actual: Tensor, spec: TensorSpec | None = None) -> bool:
    """Whether two values inside are the same: as outputs of their datatype are held to be, apart from axes of one."""
    if expected.shape != actual.shape:
        if expected.size != actual.size:
            return False
        actual = actual.reshape(expected.shape)
    if spec is None:
        kind = expected if expected.dtype.kind == "f" and actual.dtype.kind == "f" else actual
        kind = actual if actual.dtype.itemsize < kind.dtype.itemsize and actual.dtype.kind == kind.dtype.kind else kind
        spec = TensorSpec(name="inside", datatype=datatype_of(kind), shape=(BATCH, *expected.shape[1:]) if expected.ndim else ())
    try:
        return compare([spec], [expected], [actual]).agrees
    except (AweighError, ValueError, TypeError):
        return False


def opened(proto: Any) -> Any:
    """A copy of a model that gives out every tensor of its main graph."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    given = {value.name for value in copy.graph.output}
    names = dict.fromkeys(name for node in copy.graph.node for name in node.output if name and name not in given)
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


def _at(found: Trouble, tensor: str) -> str:
    node = next((node for node in found.proto.graph.node if tensor in node.output), None)
    named = f"node '{node.name or node.output[0]}' ({node.op_type}), " if node is not None else ""
    return f" ({named}{found.where})"


def _both(expected: Tensor, actual: Tensor, source: str, other: str) -> str:
    """The element that differs most, on both sides."""
    if expected.size != actual.size:
        return f"{source} the shape {list(expected.shape)}, {other} {list(actual.shape)}"
    one, two = expected.reshape(-1), actual.reshape(-1)
    if one.dtype.kind not in "biuf" or two.dtype.kind not in "biuf":
        at = next((at for at, pair in enumerate(zip(one.tolist(), two.tolist(), strict=True)) if pair[0] != pair[1]), 0)
    else:
        gap = np.abs(one.astype(np.float64) - two.astype(np.float64))
        same = (one == two) | ((one != one) & (two != two))
        at = int(np.argmax(np.where(same, -1.0, np.where(np.isnan(gap), np.inf, gap))))
    place = [int(item) for item in np.unravel_index(at, expected.shape)] if expected.ndim else []
    return f"{source} {_short(one, at)}, {other} {_short(two, at)} at {place}"


def _short(flat: Tensor, at: int) -> str:
    return describe_value(flat, at)[:_SAID]

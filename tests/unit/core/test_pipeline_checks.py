"""Graphs of pipelines that do not hold together are refused, by the names of step and tensor."""

from pathlib import Path

import pytest

from aweigh.core.errors import InvalidFile, InvalidInput, Unsupported
from aweigh.core.names import Digest
from aweigh.core.package import Part
from aweigh.core.pipeline import Combine, Condition, Feed, Graph, Operator, Output, Step, decode_graph, encode_graph
from aweigh.core.pipeline_checks import Flows, trace
from aweigh.core.signature import BATCH, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype

X = TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 4))
MODEL = Signature(
    inputs=(X,),
    outputs=(
        TensorSpec(name="label", datatype=Datatype.INT64, shape=(BATCH,), role="label"),
        TensorSpec(name="scores", datatype=Datatype.FP32, shape=(BATCH, 3)),
    ),
)
NARROW = Signature(inputs=(TensorSpec(name="s", datatype=Datatype.FP32, shape=(BATCH, 2)),), outputs=MODEL.outputs)
PART = Part(name="part", version=1, digest=Digest("sha256:" + "0" * 64))


def model(name: str, source: str = "request.x", **more: object) -> Step:
    return Step(name=name, inputs=(Feed(tensor="x", source=source),), part=PART, **more)  # type: ignore[arg-type]


def combined(name: str, combine: Combine, *sources: str, **more: object) -> Step:
    return Step(name=name, inputs=tuple(Feed(source=source) for source in sources), combine=combine, **more)  # type: ignore[arg-type]


def when(source: str = "a.label", value: int | str = 1, column: int | None = None) -> Condition:
    return Condition(source=source, operator=Operator.EQUAL, values=(value,), column=column)


def graph(*steps: Step, out: str = "") -> Graph:
    return Graph(format_version=1, steps=steps, outputs=(Output(name="y", source=out or f"{steps[-1].name}.label"),))


def check(made: Graph) -> None:
    trace(made, (X,), lambda step: NARROW if step.name.startswith("narrow") else MODEL)


def test_a_graph_that_holds_together() -> None:
    flows = trace(
        graph(
            model("a"),
            model("b", when=when()),
            model("c", otherwise=("b",)),
            combined("joined", Combine.JOIN, "b.scores", "c.scores"),
            combined("both", Combine.CONCAT, "joined.output", "a.scores"),
            out="both.output",
        ),
        (X,),
        lambda _: MODEL,
    )
    assert flows.branches == {"a": "", "b": "b", "c": "c", "joined": "", "both": ""}
    assert flows.tensors["both.output"].spec.shape == (BATCH, 6)
    assert flows.tensors["b.scores"].branch == "b"


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (graph(model("a"), model("a")), "two steps are named 'a'"),
        (graph(model("a", "request.z")), "step 'a': there is no 'request.z'"),
        (graph(model("a", "later.label"), model("later")), "step 'a': there is no 'later.label' before it"),
        (graph(model("a", "a.scores")), "step 'a': there is no 'a.scores' before it"),
        (graph(model("a"), model("b")), "nothing reads step 'a'"),
        (graph(model("a"), model("b", "a.scores")), r"input 'x' is FP32 \['batch', 4\], and a.scores is FP32 \['batch', 3\]"),
        (graph(model("a"), out="a.other"), "output 'y': there is no 'a.other'"),
        (graph(model("a"), model("b", when=when())), "output 'y' is b.label, which only has the rows of branch 'b'"),
        (graph(model("a"), model("b", when=when("a.scores"))), r"a.scores is \['batch', 3\]"),
        (graph(model("a"), model("b", when=when("a.scores", column=3))), r"a.scores is \['batch', 3\]"),
        (graph(model("a"), model("b", when=when(value="x"))), "a.label holds numbers"),
        (graph(model("a"), model("b", otherwise=("a",))), "otherwise = 'a', which is no step with 'when'"),
        (
            graph(model("a"), model("b", when=when()), combined("j", Combine.JOIN, "b.label", "b.label"), out="j.output"),
            "step 'j' joins b, b, which may leave rows out",
        ),
        (
            graph(model("a"), model("b", when=when()), combined("m", Combine.MEAN, "a.scores", "a.label"), out="m.output"),
            "'m': mean of a.scores, FP32",
        ),
        (
            graph(
                model("a"),
                model("b", when=when()),
                model("c", otherwise=("b",)),
                combined("m", Combine.MEAN, "b.scores", "c.scores"),
                out="m.output",
            ),
            "step 'm' takes tensors of different branches: b, c",
        ),
        (graph(model("a"), combined("m", Combine.WEIGHTED_MEAN, "a.scores", "a.scores", weights=(1.0,)), out="m.output"), "1 weights"),
        (graph(combined("m", Combine.MEAN, "request.x"), out="m.output"), "combines 1 tensor"),
        (graph(Step(name="n", inputs=(), part=PART)), "step 'n' is given nothing"),
        (graph(Step(name="n", inputs=(Feed(tensor="y", source="request.x"),), part=PART)), "nothing feeds its input 'x'"),
        (graph(model("request")), "'request' is not the name of a step"),
    ],
)
def test_what_does_not_hold_together_is_refused_by_name(made: Graph, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        check(made)


def of_classes(*labels: str | int) -> Signature:
    spec = TensorSpec(name="p", datatype=Datatype.FP32, shape=(BATCH, 2), role="probability")
    return Signature(inputs=(X,), outputs=(spec,), task=Task.CLASSIFICATION, labels=labels)


def flows_of(combine: Combine, *models: Signature, **more: object) -> Flows:
    """Two models, and their probabilities combined; of a join the first has a branch."""
    first = model("a", when=when("request.x", column=0)) if combine is Combine.JOIN else model("a")
    signatures = dict(zip("ab", models, strict=True))
    return trace(
        graph(first, model("b"), combined("m", combine, "a.p", "b.p", **more), out="m.output"), (X,), lambda step: signatures[step.name]
    )


BY_PLACE = [
    (Combine.MEAN, {}),
    (Combine.WEIGHTED_MEAN, {"weights": (1.0, 2.0)}),
    (Combine.MAX, {}),
    (Combine.VOTE, {}),
    (Combine.JOIN, {}),
]


@pytest.mark.parametrize(("combine", "more"), BY_PLACE)
def test_probabilities_in_different_orders_are_not_combined(combine: Combine, more: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=r"step 'm': .*a\.p is of 'ham', 'spam', and b\.p of 'spam', 'ham'"):
        flows_of(combine, of_classes("ham", "spam"), of_classes("spam", "ham"), **more)


@pytest.mark.parametrize(("combine", "more"), BY_PLACE)
def test_probabilities_in_one_order_or_of_a_model_that_names_none_are_combined(combine: Combine, more: dict[str, object]) -> None:
    known = of_classes("ham", "spam")
    assert flows_of(combine, known, known, **more).tensors["m.output"].labels == known.labels
    assert flows_of(combine, known, of_classes(), **more).tensors["m.output"].labels == ()


def test_probabilities_in_different_orders_may_stand_side_by_side() -> None:
    made = flows_of(Combine.CONCAT, of_classes("ham", "spam"), of_classes("spam", "ham")).tensors["m.output"]
    assert made.spec.shape == (BATCH, 4)


def test_a_branch_is_not_opened_within_another() -> None:
    inner = Step(name="c", inputs=(Feed(tensor="s", source="b.scores"),), part=PART, when=when())
    with pytest.raises(InvalidInput, match="step 'c' would open a branch within branch 'b'"):
        trace(
            graph(model("a"), model("b", when=when()), inner),
            (X,),
            lambda step: (
                MODEL
                if step.name != "c"
                else Signature(inputs=(TensorSpec(name="s", datatype=Datatype.FP32, shape=(BATCH, 3)),), outputs=MODEL.outputs)
            ),
        )


def test_the_file_comes_back_as_it_was_and_a_newer_one_is_refused() -> None:
    made = graph(model("a"), model("b", when=when()), model("c", otherwise=("b",)))
    assert decode_graph(encode_graph(made)) == made
    with pytest.raises(Unsupported, match="format version 2"):
        decode_graph(encode_graph(made).replace(b'"format_version":1', b'"format_version":2'))
    with pytest.raises(InvalidFile, match="not the graph"):
        decode_graph(b'{"format_version":1,"steps":3}')


def test_the_sample_of_format_version_1_is_read() -> None:
    file = Path(__file__).parents[2] / "data/formats/pipeline-1.json"
    read = decode_graph(file.read_bytes(), place=file.name)
    assert [step.name for step in read.steps] == ["scale", "linear", "tree", "both", "deep", "answer"]
    assert [step.runs for step in read.steps][:4] == ["function features.py:scale", "linear:1", "tree:1", "mean"]
    assert encode_graph(read) == file.read_bytes().rstrip(b"\n")

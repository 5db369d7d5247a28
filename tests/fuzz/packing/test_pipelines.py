"""Text of pipelines, and graphs from elsewhere, that are anything: each is understood or refused by a typed error, and nothing of it runs."""

import contextlib
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from aweigh.core.errors import AweighError
from aweigh.core.names import Digest
from aweigh.core.package import Part
from aweigh.core.pipeline import Combine, Condition, Feed, Graph, Operator, Output, Step, decode_graph, encode_graph
from aweigh.core.pipeline_checks import trace
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.packing.pipeline_file import Definition, StepText, read_definition
from aweigh.packing.pipeline_graph import condition_of, in_order, request_names

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 2)),),
    outputs=(
        TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 2)),
        TensorSpec(name="label", datatype=Datatype.INT64, shape=(BATCH,)),
    ),
)
PART = Part(name="part", version=1, digest=Digest("sha256:" + "0" * 64))
names = st.sampled_from(["a", "b", "c", "d", "request", "", "a.y", "\0", "x" * 70])
sources = st.one_of(
    st.sampled_from(["request.x", "a.y", "a.label", "b.y", "c.output", "b.label", "d.y", "request.", "."]), st.text(max_size=12)
)
conditions = st.builds(
    Condition,
    source=sources,
    operator=st.sampled_from(Operator),
    values=st.lists(st.one_of(st.integers(-3, 3), st.floats(), st.text(max_size=3)), max_size=3).map(tuple),
    column=st.one_of(st.none(), st.integers(-2, 4)),
)
steps = st.builds(
    Step,
    name=names,
    inputs=st.lists(st.builds(Feed, source=sources, tensor=st.sampled_from(["x", "y", ""])), max_size=3).map(tuple),
    part=st.one_of(st.none(), st.just(PART)),
    combine=st.one_of(st.none(), st.sampled_from(Combine)),
    weights=st.lists(st.floats(), max_size=3).map(tuple),
    when=st.one_of(st.none(), conditions),
    otherwise=st.lists(names, max_size=2).map(tuple),
)
graphs = st.builds(
    Graph,
    format_version=st.just(1),
    steps=st.lists(steps, max_size=5).map(tuple),
    outputs=st.lists(st.builds(Output, name=names, source=sources), max_size=2).map(tuple),
)


@given(graphs)
def test_a_graph_holds_together_or_is_refused(graph: Graph) -> None:
    with contextlib.suppress(AweighError):
        flows = trace(graph, SIGNATURE.inputs, lambda _: SIGNATURE)
        assert {output.source for output in graph.outputs} <= set(flows.tensors)


@given(
    st.one_of(
        st.binary(max_size=300),
        graphs.filter(lambda graph: "nan" not in repr(graph)).map(encode_graph),
        st.recursive(st.none(), st.lists).map(msgspec.json.encode),
    )
)
def test_bytes_are_a_graph_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(AweighError):
        assert decode_graph(data).format_version == 1


texts = st.one_of(names, sources, st.text(max_size=30))


@given(
    st.lists(
        st.builds(
            StepText,
            name=names,
            model=st.sampled_from(["", "m"]),
            combine=st.sampled_from(["", "mean", "x"]),
            inputs=st.one_of(texts, st.lists(texts, max_size=3), st.dictionaries(texts, texts, max_size=2)),
            when=st.one_of(st.just(""), st.just("a.y[1] > 0.5"), texts),
            otherwise=st.one_of(st.just(""), names, st.lists(names, max_size=2)),
        ),
        max_size=5,
    )
)
def test_steps_are_put_in_order_or_refused(written: list[StepText]) -> None:
    definition = Definition(step=written)
    with contextlib.suppress(AweighError):
        ordered = in_order(definition)
        assert sorted(step.name for step in ordered) == sorted(step.name for step in written)
        request_names(definition, lambda step: SIGNATURE if step.model else None)
        for step in ordered:
            condition_of(step, lambda text: text)


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_a_file_is_a_pipeline_or_is_refused(tmp_path_factory: Any, data: bytes) -> None:
    file: Path = tmp_path_factory.getbasetemp() / "any.toml"
    for content in (data, b"[[step]]\n" + data, b'[[step]]\nname = "a"\n' + data):
        file.write_bytes(content)
        with contextlib.suppress(AweighError):
            read_definition(file)

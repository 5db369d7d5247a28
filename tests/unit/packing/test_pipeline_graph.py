"""What a person writes of a pipeline, understood."""

import functools

import numpy as np
import pytest

from aweigh.core.errors import InvalidInput
from aweigh.core.pipeline import Operator
from aweigh.core.tensors import Datatype
from aweigh.packing.pipeline_file import Definition, InputText, StepText, read_definition
from aweigh.packing.pipeline_graph import condition_of, in_order, source_of
from aweigh.packing.pipeline_sample import requests_of


def step(name: str, *inputs: str, **more: str) -> StepText:
    return StepText(name=name, inputs=list(inputs), **({"model": "m"} | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "source", "column", "operator", "values"),
    [
        ("a.label == 1", "a.label", None, Operator.EQUAL, (1,)),
        ("a.label==1", "a.label", None, Operator.EQUAL, (1,)),
        ("a.p[1] > 0.5", "a.p", 1, Operator.GREATER, (0.5,)),
        ("a.p [ 1 ] >= -0.5", "a.p", 1, Operator.GREATER_OR_EQUAL, (-0.5,)),
        ("country in ['de', 'fr']", "country", None, Operator.IN, ("de", "fr")),
        ("country != de", "country", None, Operator.DIFFERENT, ("de",)),
        ("flag == true", "flag", None, Operator.EQUAL, (True,)),
        ('name == "in between"', "name", None, Operator.EQUAL, ("in between",)),
        ("min < 3", "min", None, Operator.LESS, (3,)),
        ('country == "Côte d\'Ivoire"', "country", None, Operator.EQUAL, ("Côte d'Ivoire",)),
        ("country in ['de', \"Côte d'Ivoire\"]", "country", None, Operator.IN, ("de", "Côte d'Ivoire")),
        ("word == 'say \"so\"'", "word", None, Operator.EQUAL, ('say "so"',)),
        ("flag in ['yes', true]", "flag", None, Operator.IN, ("yes", True)),
    ],
)
def test_conditions(text: str, source: str, column: int | None, operator: Operator, values: tuple[object, ...]) -> None:
    found = condition_of(step("b", when=text), lambda each: each)
    assert found is not None
    assert (found.source, found.column, found.operator, found.values) == (source, column, operator, values)


@pytest.mark.parametrize(
    "text",
    [
        "a.label",
        "a.label = 1",
        "== 1",
        "a.label == [1]",
        "a.label in 1",
        "a.label == {}",
        "a.label in []",
        "a == 'x",
        "a > -Infinity",
        "a > 1e999",
        "a in " + "[" * 100_000,
    ],
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(InvalidInput, match="step 'b'"):
        condition_of(step("b", when=text), lambda each: each)


def test_steps_are_put_in_order() -> None:
    definition = Definition(step=[step("c", "b.y", "a.y"), step("b", "a.y"), step("a", "x"), step("d", "x", when="c.y > 1")])
    assert [each.name for each in in_order(definition)] == ["a", "b", "c", "d"]
    with pytest.raises(InvalidInput, match="a circle: a -> b -> a"):
        in_order(Definition(step=[step("a", "b.y"), step("b", "a.y")]))


def test_a_text_is_a_step_its_only_output_or_a_tensor_of_the_request() -> None:
    gives = {"one": ("y",), "two": ("label", "scores")}
    definition = Definition(step=[step("one"), step("two")])

    def resolve(text: str) -> str:
        return source_of(text, gives, gives.get, definition, "step 'x'")

    assert [resolve(text) for text in ("one", "two.scores", "amount", "request.two", "request.a.b")] == [
        "one.y",
        "two.scores",
        "request.amount",
        "request.two",
        "request.a.b",
    ]
    for text, said in (("two", "gives label, scores"), ("two.label2", "gives no 'label2'"), ("tow.label", "no step 'tow'")):
        with pytest.raises(InvalidInput, match=said):
            resolve(text)


def test_a_mapping_without_steps_is_no_pipeline_and_keys_are_checked() -> None:
    assert read_definition({"a": 1}) is None
    assert read_definition(object()) is None
    with pytest.raises(InvalidInput, match=r"step 'a' has an unknown key 'modle'"):
        read_definition({"step": [{"name": "a", "modle": "m"}]})
    with pytest.raises(InvalidInput, match="is no function of a file"):
        read_definition({"step": [{"name": "a", "function": lambda tensors: tensors}]})


@pytest.mark.parametrize("function", [len, np.log1p, functools.partial(print)])
def test_what_is_no_function_of_a_file_is_named(function: object) -> None:
    with pytest.raises(InvalidInput, match=r"step 'a': .* is no function of a file"):
        read_definition({"step": [{"name": "a", "function": function}]})


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (np.ones((4, 3)), r"float64 \[4, 3\], does not become FP64 \[-1, 2\]"),
        (np.array([["a", "b"]], dtype=object), "could not convert string to float"),
        (np.array(3.0), "is one value"),
    ],
)
def test_samples_that_do_not_become_the_request_are_named(sample: object, said: str) -> None:
    definition = Definition(step=[step("b", "x")], inputs={"x": InputText(datatype=Datatype.FP64, shape=["batch", 2])})
    with pytest.raises(InvalidInput, match=f"the sample's 'x'.*{said}"):
        requests_of(["x"], definition, [], {"x": sample})

"""Java's properties: what is written is read back alike, and a value is never a further line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aweigh.deploy.properties import properties_text, read_properties

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)


@given(key=TEXT.filter(bool), value=TEXT)
def test_any_text_comes_back_and_nothing_beside_it(key: str, value: str) -> None:
    made = properties_text({"before": "1", key: value, "after": "2"}, said=[value])
    assert read_properties(made.decode()) == {"before": "1", key: value} | {"after": "2"} | ({key: "2"} if key == "after" else {key: value})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a=b\n# c=d\n! e=f\n", {"a": "b"}),
        ("a : b c\n", {"a": "b c"}),
        ("a b\n", {"a": "b"}),
        ("a=b\\\n   c\n", {"a": "bc"}),
        ("a\\=b=c\n", {"a=b": "c"}),
        ("a=\\u00e9\\n\n", {"a": "é\n"}),
    ],
)
def test_it_is_read_as_java_reads_it(text: str, said: dict[str, str]) -> None:
    assert read_properties(text) == said

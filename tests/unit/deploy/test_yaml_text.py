"""YAML that every parser reads alike: what could be taken for anything but text is quoted, and no value becomes structure."""

import pytest
import yaml

from aweigh.core.errors import InvalidFile
from aweigh.deploy.yaml_text import read_yaml, yaml_text

HOSTILE = [
    "x\nRUN id", "$(id)", "`id`", "'; id #", "{{7*7}}", "--flag", "a: b", "\u2028", "1e3", "0x10", "no", "NO", "on", "~", "", "null", "1_000", "12:30:45", "2026-01-01",
    "- a", "# a", "&a", "*a", "!tag", "%a", "@a", "\t", "a\r\nb", "\x00", "trailing ", "line\n", "é", "a\n\nb\n", ".inf", "=", "<<",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
def test_every_text_comes_back_as_it_was_and_the_structure_stays(value: str) -> None:
    made = yaml_text({"before": 1, "value": value, value: "key", "after": [value, {"in": value}]}, said=[value])
    assert read_yaml(made, place="made") == [{"before": 1, "value": value, value: "key", "after": [value, {"in": value}]}]


@pytest.mark.parametrize("value", ["1e3", "no", "0o17", "1.5", "true", "12:30"])
def test_text_that_another_parser_could_take_for_a_number_or_truth_is_quoted(value: str) -> None:
    assert yaml_text({"a": value}) == f'a: "{value}"\n'.encode()


def test_words_and_addresses_of_images_are_plain_and_order_is_kept() -> None:
    made = yaml_text(
        {"kind": "Deployment", "image": "registry.example/team/fraud:v3", "args": ["serve", "--port"]}, said=["made of fraud:3\nsecond"]
    )
    assert (
        made.decode()
        == '# made of fraud:3\n# second\nkind: Deployment\nimage: registry.example/team/fraud:v3\nargs:\n  - serve\n  - "--port"\n'
    )


def test_several_documents_and_repeated_data_without_anchors() -> None:
    shared = {"a": "b"}
    made = yaml_text({"x": shared, "y": shared}, {"z": shared})
    assert b"&" not in made
    assert list(yaml.safe_load_all(made)) == [{"x": shared, "y": shared}, {"z": shared}]


def test_what_is_no_yaml_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidFile, match=r"deployment\.yaml is not YAML"):
        read_yaml(b"a: [", place="deployment.yaml")

"""Counting the structure of JSON: the same as of what is parsed from it, wherever a block of it ends."""

import json
import random
from typing import Any

import pytest

from aweigh.core.errors import InvalidInput, TooLarge
from aweigh.serve import json_structure
from aweigh.serve.json_structure import Structure, check_counts, check_unique, count_tokens, structure

TEXTS = ["a,[", "\\", '"{,', '\\"', '\\\\",', ":", "}]", "é\n"]


def counted(value: Any) -> Structure:
    """The same by walking what was parsed."""
    if not isinstance(value, dict | list):
        return Structure(commas=0, keys=0, lists=0, objects=0)
    parts = [counted(item) for item in (value.values() if isinstance(value, dict) else value)]
    objects = isinstance(value, dict)
    return Structure(
        commas=max(len(value) - 1, 0) + sum(part.commas for part in parts),
        keys=len(value) * objects + sum(part.keys for part in parts),
        lists=(not objects) + sum(part.lists for part in parts),
        objects=objects + sum(part.objects for part in parts),
    )


def made(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.random()
    if depth > 4 or kind < 0.4:
        return chance.choice([1, 1.5, None, *TEXTS])
    if kind < 0.7:
        return [made(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {f"{chance.choice(TEXTS)}{at}": made(chance, depth + 1) for at in range(chance.randrange(4))}


@pytest.mark.parametrize("block", [1, 7, 1 << 18])
def test_as_many_as_parsing_finds(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(json_structure, "_BLOCK", block)
    chance = random.Random(1)
    for _ in range(300):
        value = made(chance)
        assert structure(json.dumps(value).encode(), 99) == counted(value)


@pytest.mark.parametrize("block", [3, 1 << 18])
def test_depth_is_that_of_brackets_outside_of_texts(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(json_structure, "_BLOCK", block)
    structure(b'{"a":["[[[[[[",{"\\"[[[[":1}]}', 3)
    structure(b"[]" * 100, 1)
    for body in (b"[[[[", b'{"a":[{"b":[', b"[[[[]]]]", b'["\\\\",[[["'):
        with pytest.raises(InvalidInput, match="nests deeper than 3"):
            structure(body, 3)


def test_what_is_no_json_is_counted_all_the_same() -> None:
    for body in (b"", b'"', b"\\" * 99, b'"' * 99, b"]]]]", b"\xff,\xff"):
        structure(body, 3)


@pytest.mark.parametrize("body", [b"1 " * 999, b"1," * 999, b"[]" * 999, b"{}" * 999, b'""' * 999, b"::" * 999, b"a\n" * 999, b"}" * 999])
def test_tokens_are_never_counted_too_few(body: bytes) -> None:
    assert count_tokens(body) >= 998
    assert count_tokens(b"1.5," * 999) <= 2 * 1000


def test_more_than_allowed_is_told_with_the_figures() -> None:
    found = structure(b"[[],[],[]]", 9)
    check_counts(found, values=2, lists=4, objects=0)
    with pytest.raises(TooLarge, match=r"holds 4 lists; .* holds 3 at most"):
        check_counts(found, values=2, lists=3, objects=0)


def test_a_key_that_is_given_twice_is_told() -> None:
    check_unique(b'{"a":1,"b":{"a":":"}}', 3)
    check_unique(b'{"a":1,"unknown":[{"a":1},{"a":2}]}', 1)
    for body in (b'{"a":1,"a":1}', b'{"b":{"a":1,"x":NaN,"\\u0061":2}}'):
        with pytest.raises(InvalidInput, match="the key 'a' is given twice"):
            check_unique(body, 1)


def test_keys_that_are_no_text_are_refused_where_nobody_asks_for_them() -> None:
    with pytest.raises(InvalidInput, match="not UTF-8 at byte 8"):
        check_unique(b'{"a":1,"\xff":2}', 1)
    with pytest.raises(InvalidInput, match="not JSON"):
        check_unique(b'{"a":1,"b":01}', 1)

import copy
import pickle
import re
import traceback

import pytest

from aweigh.core import errors
from aweigh.core.errors import AweighError, InternalError, Kind, all_errors, from_dict

ROW = re.compile(r"^[│ ]*[├└]─ (\w+) +([a-z-]+) +([A-Z_]+)", re.MULTILINE)


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = {name: (code, kind) for name, code, kind in ROW.findall(errors.__doc__)}
    assert drawn == {cls.__name__: (cls.code, cls.kind.value) for cls in all_errors() if cls is not AweighError}


def test_the_docstring_draws_children_under_their_parents():
    parents: dict[int, str] = {-1: "AweighError"}
    for line in errors.__doc__.splitlines():
        if match := re.match(r"^((?:│  |   )*)[├└]─ (\w+)", line):
            depth, name = len(match[1]) // 3, match[2]
            parents[depth] = name
            assert getattr(errors, name).__base__.__name__ == parents[depth - 1]


def test_codes_are_distinct_and_every_kind_is_used():
    codes = [cls.code for cls in all_errors()]
    assert len(codes) == len(set(codes))
    assert {cls.kind for cls in all_errors()} == set(Kind)


@pytest.mark.parametrize("cls", all_errors())
def test_errors_cross_a_process_boundary(cls):
    error = cls("it broke", hint="mend it", place="$.a", size=5)
    back = from_dict(error.as_dict())
    assert back.as_dict() == error.as_dict() or cls is AweighError
    assert (type(back) is cls) or (cls is AweighError)
    assert str(back) == back.message == "it broke"
    assert back.context == {"place": "$.a", "size": "5"}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"code": "no-such"},
        {"code": 5, "context": "x"},
        {"code": None, "message": None},
        {"context": {"hint": "x", "message": "y", "self": "z", "cls": "w"}},
    ],
)
def test_an_error_that_is_none_becomes_internal(data):
    assert type(from_dict(data)) is InternalError


def test_no_context_of_another_process_is_taken_for_a_parameter():
    error = from_dict({"code": "refused", "message": "m", "hint": "h", "context": {"hint": "other", "self": 1}})
    assert (error.message, error.hint) == ("m", "h")
    assert error.context == {"hint": "other", "self": 1}


def test_a_traceback_shows_the_hint_once():
    error = errors.NotFound("it is not there", hint="look elsewhere")
    others = [error, error.saying("it broke"), from_dict(error.as_dict()), pickle.loads(pickle.dumps(error)), copy.copy(error)]
    error.add_note("said by a caller")
    for each in others:
        text = "".join(traceback.format_exception(each))
        assert text.count("hint: look elsewhere") == 1
        assert each.hint == "look elsewhere"
    assert "__notes__" not in vars(errors.NotFound("it is not there"))


def test_a_hint_that_is_set_later_takes_the_place_of_the_first():
    error = errors.NotFound("it is not there", hint="look elsewhere")
    error.add_note("said by a caller")
    error.hint = "make one"
    assert error.__notes__ == ["hint: make one", "said by a caller"]
    error.hint = ""
    assert error.__notes__ == ["said by a caller"]

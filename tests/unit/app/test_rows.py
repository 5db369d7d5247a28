"""A column that is named and is not there: the nearest is told first, and a list that is cut says so."""

from collections.abc import Callable

import pytest

from aweigh.app.rows import Rows, right_answers
from aweigh.core.errors import InvalidInput

ASK: dict[str, Callable[[str, Rows], object]] = {
    "column": lambda name, rows: rows.column(name, option="--slice"),
    "labels": right_answers,
}


def hint(ask: str, name: str, columns: list[str]) -> str:
    with pytest.raises(InvalidInput) as caught:
        ASK[ask](name, Rows(source="t.csv", columns={column: [1] for column in columns}))
    return caught.value.hint


@pytest.mark.parametrize("ask", ASK)
def test_a_column_that_is_not_there(ask: str) -> None:
    many = [f"V{at}" for at in range(40)] + ["label"]
    assert hint(ask, "lable", many).startswith("did you mean 'label'? its columns are: V0, V1, ")
    assert hint(ask, "zzz", many).endswith("V19, and 21 more")
    assert hint(ask, "zzz", ["a", "b"]) == "its columns are: a, b"
    assert hint(ask, "zzz", []) == "its columns are: none"


@pytest.mark.parametrize(("sign", "told"), [(";", "';'"), ("\t", "tabs")])
def test_one_column_that_holds_them_all(sign: str, told: str) -> None:
    assert hint("labels", "label", [f"a{sign}b{sign}label"]) == f"the columns are separated by {told}: save the file with commas"

"""What is passed on of a program that failed."""

import sys

import pytest

from aweigh.core.errors import Refused
from aweigh.deploy.commands import Commands


def failed(program: str) -> str:
    with pytest.raises(Refused) as refused:
        Commands().run([sys.executable, "-c", f"import sys; sys.stderr.write({program}); sys.exit(1)"])
    return refused.value.message.partition("failed with 1: ")[2]


def test_equal_lines_are_told_once() -> None:
    assert failed("'no route\\n' * 100 + 'gave up'") == "no route\ngave up"


def test_what_is_cut_begins_with_a_whole_line() -> None:
    lines = failed("'\\n'.join(f'line {at} ends' for at in range(1000))").splitlines()
    assert lines[-1] == "line 999 ends"
    assert all(line.startswith("line ") for line in lines)
    assert 100 < len(lines) < 200


def test_of_one_long_line_the_end_is_told() -> None:
    assert failed("'x' * 5000 + 'end'") == "x" * 1997 + "end"

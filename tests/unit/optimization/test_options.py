"""What a search is asked for from Python is checked as on the command line, before anything is looked up."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aweigh
from aweigh.app.optimize import OptimizeOptions, checked
from aweigh.core.errors import InvalidSetting, Unsupported


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"batch": -5}, "batch=-5 is no number of rows"),
        ({"batch": "8"}, "batch='8' is no number of rows"),
        ({"batch": 2.5}, "batch=2.5 is"),
        ({"batch": True}, "batch=True is"),
        ({"batch": 10**6}, "batch=1000000 is"),
        ({"seconds": -1}, "seconds=-1 is no time for a search"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"seconds": "10m"}, "seconds='10m'"),
        ({"seconds": None}, "seconds=None"),
        ({"keep": 0.99}, "keep=0.99 is no text"),
        ({"goal": ["cpu"]}, "goal="),
        ({"train": len}, "train="),
    ],
)
def test_values_that_are_none(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=said):
        aweigh.optimize("nothing", **given, home=str(tmp_path))


def test_values_of_numpy_and_paths_are_taken(tmp_path: Path) -> None:
    found = checked(OptimizeOptions(batch=np.int64(8), seconds=np.float32(30), source=tmp_path))  # type: ignore[arg-type]  # from Python
    assert found == OptimizeOptions(batch=8, seconds=30.0, source=str(tmp_path))
    assert type(found.batch) is int


def test_one_pass_may_be_given_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no pass named 'int8-dinamic'"):
        aweigh.optimize("nothing", passes="int8-dinamic", home=str(tmp_path))

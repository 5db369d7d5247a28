"""A6: files of tree libraries that lie about their own structure. Each is refused by a typed error, in a child whose death would be its own; nothing is published."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.threats.commands import Done, run_all, tree
from tests.trees.models import estimator, rows, save, target

CAP = 3 * 1024**3
pytestmark = pytest.mark.timeout(300)
FORMS = {"json": "xgboost", "ubj": "xgboost", "txt": "lightgbm", "cbm": "catboost"}
Break = Callable[[bytes], bytes]


def xgboost(change: Callable[[dict[str, Any]], object]) -> Break:
    """A change of the first tree in XGBoost's JSON."""

    def broken(data: bytes) -> bytes:
        document = json.loads(data)
        change(document["learner"]["gradient_booster"]["model"]["trees"][0])
        return json.dumps(document).encode()

    return broken


def at(name: str, value: int) -> Break:
    """One number of an array of the first tree."""
    return xgboost(lambda first: first[name].__setitem__(0, value))


def lightgbm(name: str, value: str, *, whole: bool = False) -> Break:
    """The first number of a line of LightGBM's text, or all of them."""
    pattern = re.compile(rf"^{name}=(\S+){'.*' if whole else ''}", re.MULTILINE)

    def broken(data: bytes) -> bytes:
        changed = pattern.sub(f"{name}={value}", data.decode(), count=1)
        more = len(changed) - len(data)
        if not whole:  # the tree is found all the same
            changed = re.sub(r"^tree_sizes=(\d+)", lambda found: f"tree_sizes={int(found[1]) + more}", changed, count=1, flags=re.MULTILINE)
        return changed.encode()

    return broken


def counted(data: bytes) -> bytes:
    """UBJSON whose first array claims a thousand million numbers."""
    place = data.index(b"#L", data.index(b"left_children"))
    return data[: place + 2] + (10**9).to_bytes(8, "big") + data[place + 10 :]


def negative(data: bytes) -> bytes:
    place = data.index(b"#L", data.index(b"left_children"))
    return data[: place + 2] + (-1).to_bytes(8, "big", signed=True) + data[place + 10 :]


HOSTILE: dict[str, tuple[str, Break]] = {
    "xgboost: a child 99999": ("json", at("left_children", 99999)),
    "xgboost: a child -100": ("json", at("right_children", -100)),
    "xgboost: a tree that is its own child": ("json", at("left_children", 0)),
    "xgboost: a feature 99999": ("json", at("split_indices", 99999)),
    "xgboost: 1,000,000,000 nodes": ("json", xgboost(lambda first: first["tree_param"].__setitem__("num_nodes", "1000000000"))),
    "xgboost: arrays of unequal length": ("json", xgboost(lambda first: first["left_children"].pop())),
    "xgboost: UBJSON cut in an array": ("ubj", lambda data: data[: data.index(b"left_children") + 40]),
    "xgboost: UBJSON with 1,000,000,000 numbers": ("ubj", counted),
    "xgboost: UBJSON with -1 numbers": ("ubj", negative),
    "lightgbm: a child 99999": ("txt", lightgbm("left_child", "99999")),
    "lightgbm: a child -100": ("txt", lightgbm("right_child", "-100")),
    "lightgbm: a feature 99999": ("txt", lightgbm("split_feature", "99999")),
    "lightgbm: sizes that overflow": ("txt", lightgbm("tree_sizes", "18446744073709551615", whole=True)),
    "lightgbm: 1,000,000,000 leaves": ("txt", lightgbm("num_leaves", "1000000000")),
    "catboost: lengths beyond the file": ("cbm", lambda data: data[:4] + b"\xff\xff\xff\x7f" + data[8:]),
    "catboost: half a file": ("cbm", lambda data: data[: len(data) // 2]),
}

DAILY = {
    "xgboost: a child 99999",
    "xgboost: UBJSON with 1,000,000,000 numbers",
    "lightgbm: a child -100",
    "lightgbm: sizes that overflow",
    "catboost: lengths beyond the file",
}
"""One of each sort; `make test-all` packs all of them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every hostile file, under its number."""
    root = tmp_path_factory.mktemp("trees")
    frame = rows(300, 1, "catboost")
    sample = frame[["age", "income", "visits"]]
    sound = {}
    for form, library in FORMS.items():
        options: dict[str, Any] = {"cat_features": []} if library == "catboost" else {}
        save(estimator(library, "Regressor", 5, **options).fit(sample, target(frame)), library, form, root / f"sound.{form}")
        sound[form] = (root / f"sound.{form}").read_bytes()
    for number, (form, change) in enumerate(HOSTILE.values()):
        broken = change(sound[form])
        assert broken != sound[form]
        (root / f"{number}.{form}").write_bytes(broken)
    return root


def packed(cases: set[str], folder: Path, home: Path) -> dict[str, Done]:
    before = tree(folder)
    commands = {
        case: ["pack", str(folder / f"{number}.{form}"), "--name", "hostile"]
        for number, (case, (form, _)) in enumerate(HOSTILE.items())
        if case in cases
    }
    found = run_all(home, commands, AWEIGH_CHILD_MEMORY_BYTES=str(CAP), AWEIGH_CHILD_TIMEOUT_S="60")
    assert tree(folder) == before
    assert not [*home.glob("store/blobs/*/*")]
    return found


@pytest.fixture(scope="module")
def daily(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    return packed(DAILY, folder, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def others(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    return packed(HOSTILE.keys() - DAILY, folder, tmp_path_factory.mktemp("home"))


def check_refused(done: Done) -> None:
    assert done.code in {1, 2, 4}, done.said
    assert done.error["code"] in {"invalid-file", "invalid-input", "unsupported", "child-died", "proof-failed"}, done.said
    assert done.error["hint"]
    assert "Traceback" not in done.said
    assert done.peak_bytes < CAP


@pytest.mark.parametrize("case", sorted(DAILY))
def test_a_file_that_lies_about_its_trees_is_refused(daily: dict[str, Done], case: str) -> None:
    check_refused(daily[case])


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(HOSTILE.keys() - DAILY))
def test_other_files_that_lie_are_refused_as_well(others: dict[str, Done], case: str) -> None:
    check_refused(others[case])

"""A6: mutated model files of the tree libraries. Each is refused by a typed error, answered, or kills the child that opened it, never more."""

from pathlib import Path
from typing import Any

import pytest
from tests.trees.models import estimator, rows, save, target
from tests.trees.mutants import Lot

from aweigh import isolate
from aweigh.core.errors import AweighError
from aweigh.isolate import Caps
from aweigh.packing import PackRequest, pack
from aweigh.verify import prove

FORMS = [("xgboost", "json"), ("xgboost", "ubj"), ("lightgbm", "txt"), ("catboost", "cbm")]
ROOT = str(Path(__file__).resolve().parents[3])
CAPS = Caps(memory_bytes=3 * 1024**3, timeout_s=900.0)


def sound_file(folder: Path, library: str, form: str) -> Path:
    frame = rows(300, 1, "catboost")
    options: dict[str, Any] = {"cat_features": ["city"]} if library == "catboost" else {}
    sample = frame[["age", "income", "visits", *options.get("cat_features", [])]]
    save(estimator(library, "Regressor", 5, **options).fit(sample, target(frame)), library, form, folder / f"model.{form}")
    return folder / f"model.{form}"


def judged(file: Path, count: int) -> list[str]:
    return isolate.call("tests.trees.mutants:judge", Lot(file=str(file), count=count), list[str], caps=CAPS, paths=[ROOT])


def check(found: list[str], count: int) -> None:
    assert len(found) == count
    assert set(found) <= {"refused", "answered", "died", "hung"}
    assert found.count("refused") > count // 3
    assert found.count("hung") <= count // 20


@pytest.mark.parametrize(("library", "form"), FORMS)
def test_60_mutants(tmp_path: Path, library: str, form: str) -> None:
    check(judged(sound_file(tmp_path, library, form), 60), 60)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", [pytest.param(400, marks=pytest.mark.slow), pytest.param(2000, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("library", "form"), FORMS)
def test_many_mutants(tmp_path: Path, library: str, form: str, count: int) -> None:
    check(judged(sound_file(tmp_path, library, form), count), count)


@pytest.mark.slow
@pytest.mark.parametrize(("library", "form"), FORMS)
def test_half_a_file_is_refused_by_name(tmp_path: Path, library: str, form: str) -> None:
    file = sound_file(tmp_path, library, form)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(AweighError) as caught:
        pack(file, PackRequest(prove=prove))
    assert caught.value.code in {"invalid-file", "child-died"}
    assert caught.value.hint

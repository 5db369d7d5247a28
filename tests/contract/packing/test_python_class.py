"""A folder with a class of one's own: judged by its text, packed with its files, and answered by it."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aweigh.core.errors import InvalidFile, InvalidInput, MissingLibrary, NotTrusted
from aweigh.core.protocols import Draft
from aweigh.packing import PackRequest, pack
from aweigh.packing.python_class import recognise_class
from aweigh.runtimes import load_session
from aweigh.verify import prove

ROWS = np.random.default_rng(0).normal(size=(40, 3))
CLASS = """
    from pathlib import Path
    import numpy as np
    from part import scaled

    Path(__file__).with_name("imported").touch()

    class Model:
        def load(self, folder):
            self.weights = np.load(Path(folder) / "weights.npy")

        def predict(self, rows):
            return {"score": scaled(rows) @ self.weights, "sign": np.where(rows[:, 0] > 0, "up", "down")}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    (root / "part").mkdir(parents=True)
    (root / "model.py").write_text(textwrap.dedent(CLASS))
    (root / "part" / "__init__.py").write_text("def scaled(rows):\n    return rows * 2.0\n")
    np.save(root / "weights.npy", np.array([1.0, 2.0, 3.0]))
    return root


def packed(folder: Path, tmp_path: Path, **said: object) -> Draft:
    request = {"sample": ROWS, "trust": True, "factory": "model:Model", **said}
    return pack(folder, PackRequest(prove=prove, work=tmp_path / "work", **request))  # type: ignore[arg-type]


def test_a_class_is_packed_with_its_files_and_answers(folder: Path, tmp_path: Path) -> None:
    draft = packed(folder, tmp_path)
    variant = draft.manifest.variants[0]
    assert variant.runtime == "python"
    assert variant.evidence is not None
    assert variant.evidence.passed
    assert draft.manifest.provenance.trusted
    assert "variants/python/files/part/__init__.py" in variant.files
    (folder / "model.py").unlink()

    def place(name: str) -> Path:
        found = draft.files[name]
        assert isinstance(found, Path)
        return found

    session = load_session(variant, draft.manifest.session_signature, place)
    try:
        score, sign = session.run({draft.manifest.signature.inputs[0].name: ROWS[:5]})
    finally:
        session.close()
    np.testing.assert_allclose(score, ROWS[:5] * 2.0 @ [1.0, 2.0, 3.0])
    assert sign.tolist() == np.where(ROWS[:5, 0] > 0, "up", "down").tolist()


def test_nothing_runs_unless_it_is_trusted(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotTrusted, match="Python class model:Model"):
        packed(folder, tmp_path, trust=False)
    assert not (folder / "imported").exists()


def test_columns_come_by_name(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    (root / "model.py").write_text("class Model:\n    def predict(self, rows):\n        return rows['a'] + rows['b']\n")
    signature = packed(root, tmp_path, sample=pd.DataFrame({"a": ROWS[:, 0], "b": ROWS[:, 1]})).manifest.signature
    assert [column.name for column in signature.columns] == ["a", "b"]
    assert [spec.name for spec in signature.outputs] == ["prediction"]


def test_what_is_missing_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="needs a sample"):
        packed(folder, tmp_path / "a", sample=None)
    (folder / "requirements.txt").write_text("# mine\nnumpy\nno-such-library-at-all>=1\n")
    with pytest.raises(MissingLibrary, match="no-such-library-at-all"):
        packed(folder, tmp_path / "b")
    (folder / "requirements.txt").write_text("numpy==1.0.1\n")
    with pytest.raises(MissingLibrary, match=r"requirements\.txt:1 needs numpy==1\.0\.1, and numpy [2-9.]+ is installed here"):
        packed(folder, tmp_path / "b")
    (folder / "requirements.txt").unlink()
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(InvalidInput, match="a link"):
        packed(folder, tmp_path / "c")


def test_a_class_is_told_by_its_text_alone(folder: Path) -> None:
    assert recognise_class(folder, "model:Model") is not None
    assert recognise_class(folder, "model:Other") is None
    assert recognise_class(folder, "absent:Model") is None
    assert recognise_class(folder / "model.py", "model:Model") is None
    assert not (folder / "imported").exists()
    (folder / "model.py").write_text("class Model(:\n")
    with pytest.raises(InvalidFile, match="not Python"):
        recognise_class(folder, "model:Model")
    with pytest.raises(InvalidInput, match="MODULE:CLASS"):
        recognise_class(folder, "../x:Model")

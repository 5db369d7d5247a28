"""Which library a factory is of is told by the text of its module, which is not run."""

from pathlib import Path

import numpy as np
import pytest

from aweigh.core.errors import InvalidFile, UnknownFormat
from aweigh.packing.choose import recognise_source
from aweigh.packing.jax_parameters import form_of

SAFE = (64).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(64) + bytes(4)
MODULES = {
    "plain": "import numpy",
    "of_jax": "import jax.numpy as jnp",
    "of_flax": "def make():\n    from flax import linen\n    return linen.Dense(1)",
    "of_torch": "import torch",
    "broken": "def (",
    "harmful": "import jax\nopen('imported', 'w')",
    "relative": "from .jax import thing",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "weights.safetensors").write_bytes(SAFE)
    np.savez(tmp_path / "weights.npz", a=np.zeros(3))
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "models.py").write_text("from jax import numpy")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "factory", "format"),
    [
        ("weights.safetensors", "of_jax:f", "jax-parameters"),
        ("weights.safetensors", "of_flax:make", "jax-parameters"),
        ("weights.safetensors", "inner.models:f", "jax-parameters"),
        ("weights.safetensors", "harmful:f", "jax-parameters"),
        ("weights.safetensors", "of_torch:Net", "safetensors"),
        ("weights.safetensors", "nowhere:Net", "safetensors"),
        ("weights.safetensors", "", "safetensors"),
        ("weights.npz", "of_jax:f", "jax-parameters"),
    ],
)
def test_the_factorys_imports_decide(file: str, factory: str, format: str, folder: Path) -> None:  # noqa: A002
    assert recognise_source(Path(file), factory).format == format
    assert not (folder / "imported").exists()


@pytest.mark.parametrize("factory", ["plain:f", "of_torch:f", "nowhere:f", "relative:f", "../x:f", ""])
def test_an_archive_of_arrays_goes_with_nothing_but_jax(factory: str) -> None:
    with pytest.raises(UnknownFormat, match="numpy archive"):
        recognise_source(Path("weights.npz"), factory)


def test_a_module_that_is_no_python_is_said(folder: Path) -> None:
    with pytest.raises(InvalidFile, match="not Python"):
        recognise_source(Path("weights.npz"), "broken:f")


def test_forms_are_told_by_content(folder: Path) -> None:
    assert [form_of(folder / name) for name in ("weights.safetensors", "weights.npz", "plain.py")] == ["safetensors", "npz", ""]
    (folder / "cut.npz").write_bytes((folder / "weights.npz").read_bytes()[:40])
    assert form_of(folder / "cut.npz") == ""

"""Padding at pack time, whatever is packed: kept in the signature of files and live models, refused where there is nothing to fill up."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.linear_model import LogisticRegression
from tests.serving.models import encoder

import aweigh
from aweigh.core.errors import InvalidInput
from aweigh.packing import PackRequest, pack
from aweigh.verify import prove, reprove

SAMPLE = {"ids": np.arange(1, 25).reshape(4, 6), "mask": np.ones((4, 6), np.int64)}


def test_a_file_and_a_live_model_keep_it(tmp_path: Path) -> None:
    file = encoder(tmp_path)
    for source, fills in ((file, {"ids": np.int64(0), "mask": "0"}), (onnx.load(file), {"ids": 0, "mask": 0})):
        manifest = pack(source, PackRequest(prove=prove, sample=SAMPLE, padding=fills)).manifest  # type: ignore[arg-type]  # numpy's numbers too
        assert [spec.padding for spec in manifest.signature.inputs] == [0, 0]
        evidence = manifest.variants[0].evidence
        assert evidence is not None
        assert evidence.passed
        check = evidence.check("padding-invariance")
        assert check is not None
        assert check.passed


def test_the_python_interface_takes_it(tmp_path: Path) -> None:
    package = aweigh.pack(str(encoder(tmp_path, masked=False)), "unmasked", padding={"ids": 0}, home=str(tmp_path / "home"))
    assert package.manifest.signature.input("ids").padding == 0
    evidence = package.manifest.variants[0].evidence
    assert evidence is not None
    assert evidence.passed
    assert not evidence.check("padding-invariance").passed  # type: ignore[union-attr]  # it was declared
    [(_, again)] = reprove(package)
    assert again.check("padding-invariance") is not None


def test_what_has_no_ragged_axis_is_refused() -> None:
    X = np.random.default_rng(0).normal(size=(30, 3))
    model = LogisticRegression().fit(X, X[:, 0] > 0)
    with pytest.raises(InvalidInput, match="no symbolic axis of its own behind the batch axis"):
        pack(model, PackRequest(prove=prove, sample=X, padding={"X": 0}))


def test_hooks_and_padding_do_not_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "padding_hooks.py").write_text("def post(tensors):\n    return tensors\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = onnx.load(encoder(tmp_path))
    with pytest.raises(InvalidInput, match="padding and hooks do not go together"):
        pack(model, PackRequest(prove=prove, sample=SAMPLE, padding={"ids": 0, "mask": 0}, post="padding_hooks:post"))

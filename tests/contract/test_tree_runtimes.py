"""The native runtimes of the tree libraries under the published contract."""

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from tests.serving.trouble import require_alike_in_a_process
from tests.trees.models import fitted, rows

from aweigh.core.golden import read_golden
from aweigh.core.package import PackageManifest
from aweigh.core.protocols import Runtime
from aweigh.packing import PackRequest, pack
from aweigh.runtimes.catboost import CatboostRuntime
from aweigh.runtimes.lightgbm import LightgbmRuntime
from aweigh.runtimes.xgboost import XgboostRuntime
from aweigh.testing import RuntimeContract, RuntimeSample
from aweigh.verify import prove


@functools.cache
def packed(library: str, kind: str) -> tuple[PackageManifest, dict[str, bytes]]:
    sample = rows(200, 1, library)
    with tempfile.TemporaryDirectory() as folder:
        draft = pack(fitted(library, kind, 5, sample), PackRequest(prove=prove, sample=sample, work=Path(folder)))
        return draft.manifest, {name: data if isinstance(data, bytes) else data.read_bytes() for name, data in draft.files.items()}


def samples(library: str, folder: Path) -> list[RuntimeSample]:
    """A classifier, with labels and probabilities, and a regressor."""
    made = []
    for kind in ("Classifier", "Regressor"):
        manifest, files = packed(library, kind)
        for name, data in files.items():
            place = folder / kind / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        golden = read_golden(manifest, (folder / kind).joinpath)[0]
        variant = manifest.variant(library)
        assert variant is not None
        made.append(
            RuntimeSample(
                variant=msgspec.structs.replace(variant, evidence=None),
                signature=manifest.signature,
                folder=folder / kind,
                inputs=golden.inputs,
                expected=golden.outputs,
            )
        )
    return made


class TestXgboostRuntime(RuntimeContract):
    def runtime(self) -> Runtime:
        return XgboostRuntime()

    def samples(self, folder: Path) -> Sequence[RuntimeSample]:
        return samples("xgboost", folder)


class TestLightgbmRuntime(RuntimeContract):
    def runtime(self) -> Runtime:
        return LightgbmRuntime()

    def samples(self, folder: Path) -> Sequence[RuntimeSample]:
        return samples("lightgbm", folder)


class TestCatboostRuntime(RuntimeContract):
    def runtime(self) -> Runtime:
        return CatboostRuntime()

    def samples(self, folder: Path) -> Sequence[RuntimeSample]:
        return samples("catboost", folder)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_tree_runtimes_answer_alike_in_a_process(library: str, tmp_path: Path) -> None:
    require_alike_in_a_process(samples(library, tmp_path)[0])

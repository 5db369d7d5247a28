"""What is no ExecuTorch program is refused before a process is started for it."""

from pathlib import Path

import pytest

from aweigh.core.errors import FileMissing, InvalidFile
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.runtimes.executorch import ExecutorchRuntime

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 4)),),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 2)),),
)


@pytest.mark.parametrize("data", [b"", b"ET12", b"\x1c\0\0\0TFL3" + bytes(20), bytes(64)])
def test_other_bytes_are_no_program(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pte").write_bytes(data)
    variant = Variant(name="phone", runtime="executorch", precision="fp32", files=("model.pte",))
    with pytest.raises(InvalidFile, match=r"model\.pte is no ExecuTorch program"):
        ExecutorchRuntime().load(variant, SIGNATURE, lambda file: tmp_path / file)


def test_a_file_that_is_not_there_and_none_at_all(tmp_path: Path) -> None:
    variant = Variant(name="phone", runtime="executorch", precision="fp32", files=("model.pte",))
    with pytest.raises(FileMissing, match=r"model\.pte cannot be read"):
        ExecutorchRuntime().load(variant, SIGNATURE, lambda file: tmp_path / file)
    with pytest.raises(InvalidFile, match="lists no file"):
        ExecutorchRuntime().load(Variant(name="phone", runtime="executorch", precision="fp32"), SIGNATURE, lambda file: tmp_path / file)

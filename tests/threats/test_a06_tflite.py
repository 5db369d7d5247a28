"""A6, TensorFlow Lite files: operations with names of their own are refused by name, and bytes that lead out of the file before LiteRT's parser sees them.

What LiteRT itself makes of damaged files that pass is tested in tests/frameworks/test_tflite.py: only the child dies.
"""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.threats.tflite_bytes import CUSTOM, code, model

from aweigh.core.errors import AweighError, FileMissing, InvalidFile, Unsupported
from aweigh.packing.choose import judge
from aweigh.packing.recognise import recognise
from aweigh.runtimes.litert_file import judge_tflite

MUTANTS = 500


def verdict(file: Path, data: bytes) -> list[str]:
    file.write_bytes(data)
    return judge_tflite(file)


@pytest.mark.parametrize("name", ["FlexReadFile", "FlexWriteFile", "FlexPyFunc", "FlexTensorListReserve", "MyOwn", "../lib.so", "x" * 5000])
@pytest.mark.parametrize("deprecated", [-1, 0, CUSTOM])
def test_operations_that_litert_does_not_have_are_refused_by_name(tmp_path: Path, name: str, deprecated: int) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(model(code(9), code(CUSTOM, name, deprecated=deprecated), code(0)))
    for trust in (False, True):
        with pytest.raises(Unsupported, match="operations that LiteRT does not have") as refused:
            judge(file, recognise(file), trust=trust)
        assert name[:100] in str(refused.value)
    assert not {"tensorflow", "ai_edge_litert"} & set(sys.modules)


def test_operations_that_litert_has_pass(tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    assert verdict(file, model(code(9), code(0))) == []
    assert verdict(file, model(code(9), code(CUSTOM, "TFLite_Detection_PostProcess"), code(CUSTOM, "edgetpu-custom-op"))) == [
        "TFLite_Detection_PostProcess",
        "edgetpu-custom-op",
    ]
    with pytest.raises(Unsupported, match="one without a name"):
        verdict(file, model(code(CUSTOM)))
    many = [code(CUSTOM, f"Flex{number}") for number in range(9)]
    with pytest.raises(Unsupported, match="and 4 more"):
        verdict(file, model(*many))


def test_bytes_that_are_no_model_are_an_invalid_file(tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    whole = model(code(9), code(CUSTOM, "Mfcc"))
    far = bytearray(whole)
    struct.pack_into("<I", far, 0, 2**31)
    for data in (b"", b"TFL3", whole[:4] + b"TFL2" + whole[8:], whole[: len(whole) // 2], bytes(far), model(code(9), graphs=0)):
        with pytest.raises(InvalidFile):
            verdict(file, data)
    with pytest.raises(FileMissing):
        judge_tflite(tmp_path / "absent.tflite")


def test_every_damaged_file_is_a_typed_refusal_or_passes(tmp_path: Path) -> None:
    """No other error, no hang, no read outside of the file."""
    random = np.random.default_rng(11)
    whole = model(code(9), code(CUSTOM, "Mfcc"), code(3), graphs=3)
    file = tmp_path / "model.tflite"
    refused = 0
    for _ in range(MUTANTS):
        data = bytearray(whole)
        for place in random.integers(0, len(data), int(random.integers(1, 6))).tolist():
            data[place] = int(random.choice([0, 1, 127, 128, 255, int(random.integers(256))]))
        try:
            verdict(file, bytes(data[: int(random.integers(8, len(data) + 1))] if random.random() < 0.2 else data))
        except AweighError:
            refused += 1
    assert refused > MUTANTS // 10

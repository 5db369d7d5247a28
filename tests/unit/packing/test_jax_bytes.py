import os
from pathlib import Path

import msgspec
import pytest

from aweigh.core.errors import UnknownFormat
from aweigh.packing.jax_bytes import is_exported, is_flax
from aweigh.packing.recognise import recognise

PROGRAM = (
    bytes.fromhex("0c000000 0800 0800 0400 0000 08000000 04000000 20000000".replace(" ", ""))
    + b"ML\xefR\x0dStableHLO_v1.15.0\x00" + bytes(64)
)  # fmt: skip
"""The least flatbuffer with a program in its one field."""


def test_a_program_is_told_by_its_bytes() -> None:
    assert is_exported(PROGRAM)
    assert not is_exported(PROGRAM.replace(b"StableHLO", b"someother"))


def test_no_cut_and_no_noise_is_more_than_a_no() -> None:
    for at in range(len(PROGRAM)):
        is_exported(PROGRAM[:at])
        is_exported(PROGRAM[:at] + b"\xff" * 4 + PROGRAM[at + 4 :])
    for _ in range(500):
        noise = os.urandom(64)
        assert not is_exported(noise)
        is_flax(noise)


@pytest.mark.parametrize(
    ("value", "flax"),
    [
        ({"params": {"Dense_0": {"kernel": msgspec.msgpack.Ext(1, bytes(40))}}}, True),
        ({"kernel": msgspec.msgpack.Ext(1, bytes(300))}, True),
        ({"a": 1}, False),
        ([1, 2], False),
        ({}, False),
    ],
)
def test_flax_parameters_are_told_by_their_bytes(value: object, flax: bool) -> None:
    assert is_flax(msgspec.msgpack.encode(value)) is flax


def test_recognise_says_which_it_is(tmp_path: Path) -> None:
    program, parameters = tmp_path / "a.bin", tmp_path / "b.bin"
    program.write_bytes(PROGRAM)
    parameters.write_bytes(msgspec.msgpack.encode({"params": {"kernel": msgspec.msgpack.Ext(1, bytes(40))}}))
    assert recognise(program).format == "jax"
    with pytest.raises(UnknownFormat, match="Flax parameters"):
        recognise(parameters)

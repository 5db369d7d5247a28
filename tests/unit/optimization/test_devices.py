"""Device profiles, read from text."""

import pytest

from aweigh.core.errors import InvalidSetting
from aweigh.optimization.devices import parse_device

HERE = ("avx2", "fma")


def test_what_is_left_out_is_this_machine_with_one_thread() -> None:
    device = parse_device("", HERE)
    assert (device.threads, device.memory_bytes, device.features) == (1, 0, HERE)


@pytest.mark.parametrize(
    ("text", "expected"), [("memory=512MiB", 512 * 1024**2), ("memory=2GB", 2 * 10**9), ("memory=1000", 1000), ("memory=1.5kb", 1500)]
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_device(text, HERE).memory_bytes == expected


def test_all_of_it() -> None:
    device = parse_device("threads=4, memory=1GiB, features=avx2", HERE)
    assert (device.threads, device.memory_bytes, device.features) == (4, 1024**3, ("avx2",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("threads=0", "is no part"),
        ("threads=many", "is no part"),
        ("cores=2", "is no part"),
        ("memory=much", "is no size"),
        ("memory=2TiB", "is no size"),
        ("features=avx512_vnni", "this machine has no avx512_vnni"),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        parse_device(text, HERE)

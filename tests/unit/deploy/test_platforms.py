"""Which platforms are read, and which wheels fit them."""

import pytest

from aweigh.core.errors import InvalidInput
from aweigh.deploy.platforms import LINUX_AMD64, LINUX_ARM64, WheelTarget, needed_glibc, parse_platform, parse_platforms, parse_python

TARGET = WheelTarget(platform=LINUX_AMD64, python=(3, 11), glibc=(2, 28))


def test_platforms_are_read_in_every_usual_form() -> None:
    assert parse_platform("amd64") == parse_platform("linux/amd64") == LINUX_AMD64
    assert parse_platform("linux/arm64/v8") == LINUX_ARM64
    assert [str(each) for each in parse_platforms("linux/amd64,linux/arm64,amd64")] == ["linux/amd64", "linux/arm64"]
    assert parse_python("3.12") == (3, 12)


@pytest.mark.parametrize("text", ["", "windows/amd64", "linux/vax", "linux/amd64/v8/x", "linux/amd64\n", "../amd64", "linux/"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_platform(text + ("\nRUN true" if text.endswith("\n") else ""))


@pytest.mark.parametrize(
    ("wheel", "fits"),
    [
        ("a-1-cp311-cp311-manylinux_2_28_x86_64.whl", True),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("a-1-cp39-abi3-manylinux2014_x86_64.whl", True),
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-cp311-cp311-manylinux_2_34_x86_64.whl", False),
        ("a-1-cp312-cp312-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp312-abi3-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp311-cp311-manylinux_2_17_aarch64.whl", False),
        ("a-1-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("a-1-cp311-cp311-win_amd64.whl", False),
        ("a-1.tar.gz", False),
    ],
)
def test_which_wheels_fit(wheel: str, *, fits: bool) -> None:
    assert (TARGET.rank(wheel) is not None) is fits


def test_the_newest_glibc_that_fits_is_best_and_what_a_wheel_needs_is_told() -> None:
    newer, older = "a-1-cp311-cp311-manylinux_2_28_x86_64.whl", "a-1-cp311-cp311-manylinux_2_17_x86_64.whl"
    assert (TARGET.rank(newer) or 0) < (TARGET.rank(older) or 0)
    assert needed_glibc("a-1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl") == (2, 27)
    assert needed_glibc("a-1-cp311-cp311-manylinux2014_x86_64.whl") == (2, 17)
    assert needed_glibc("a-1-py3-none-any.whl") is None

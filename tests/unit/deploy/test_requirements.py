"""The exact versions that images hold: what a list says is read, and what one runtime needs is found in it."""

from pathlib import Path

import pytest

from aweigh.core.errors import InternalError, Unsupported
from aweigh.core.package import Variant
from aweigh.deploy.platforms import LINUX_AMD64, LINUX_ARM64, WheelTarget
from aweigh.deploy.requirements import LOCKS, SERVER, closure, holds, read_lock, runtime_pins

TARGET = WheelTarget(platform=LINUX_AMD64, python=(3, 11), glibc=(2, 36))
HASH = "0" * 64
LIST = f"""# head
one==1.0 \\
    --hash=sha256:{HASH} \\
    --hash=sha256:{"1" * 64}
    # via two, aweigh (pyproject.toml)
two==2 ; python_full_version < '3.12' and sys_platform != 'win32' \\
    --hash=sha256:{HASH}
    # via three
two==3 ; python_full_version >= '3.12' \\
    --hash=sha256:{HASH}
    # via three
three==1 \\
    --hash=sha256:{HASH}
    # via aweigh (pyproject.toml)
"""


def test_a_list_is_read_and_closed_over(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(LIST)
    pins = read_lock(tmp_path / "list.txt")
    assert [str(pin) for pin in pins] == ["one==1.0", "two==2", "two==3", "three==1"]
    assert pins[0].hashes == {HASH, "1" * 64}
    assert [str(pin) for pin in closure(pins, ["three"], TARGET)] == ["one==1.0", "three==1", "two==2"]
    assert [str(pin) for pin in closure(pins, ["one"], TARGET)] == ["one==1.0"]


@pytest.mark.parametrize(
    ("marker", "true"),
    [
        ("", True),
        ("sys_platform == 'linux'", True),
        ("sys_platform == 'win32' or platform_machine == 'x86_64'", True),
        ("(sys_platform == 'win32' or os_name == 'posix') and python_version >= '3.9'", True),
        ("python_full_version >= '3.12'", False),
        ("platform_machine == 'aarch64' and sys_platform == 'linux'", False),
    ],
)
def test_markers(marker: str, *, true: bool) -> None:
    assert holds(marker, TARGET) is true


@pytest.mark.parametrize("marker", ["extra == 'x'", "sys_platform = 'linux'", "__import__('os') == '1'"])
def test_a_marker_that_is_not_understood_is_said(marker: str) -> None:
    with pytest.raises(InternalError):
        holds(marker, TARGET)


def test_a_runtime_brings_its_own_libraries_and_no_others() -> None:
    onnx = {pin.name for pin in runtime_pins([Variant(name="a", runtime="onnxruntime", precision="fp32")], TARGET)}
    assert {*SERVER, "onnxruntime", "flatbuffers"} <= onnx
    assert not onnx & {"ai-edge-litert", "scikit-learn", "openvino", "pandas", "colorama"}
    litert = {pin.name for pin in runtime_pins([Variant(name="a", runtime="litert", precision="int8")], TARGET)}
    assert "ai-edge-litert" in litert
    assert "onnxruntime" not in litert
    assert all(pin.hashes for pin in read_lock(LOCKS / "serving.txt"))


def test_a_runtime_without_a_list_is_refused_by_name() -> None:
    arm = WheelTarget(platform=LINUX_ARM64, python=(3, 11), glibc=(2, 36))
    with pytest.raises(Unsupported, match="torch"):
        runtime_pins([Variant(name="a", runtime="torch-eager", precision="fp32")], arm)

"""What importing the stage brings along: the side of it that runs in MXNet's environment has numpy, msgspec and MXNet alone."""

import subprocess
import sys


def test_packing_is_imported_without_pandas_and_onnx() -> None:
    script = "import sys, aweigh.packing.child; print(*sorted({'pandas', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []

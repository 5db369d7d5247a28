"""A skip that nobody named fails the run; one that is named does not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[2] / "conftest.py"


@pytest.mark.parametrize(
    ("allowed", "code"), [("", 1), ("* | needs a moon", 0), ("test_a.py::* | moon  # why", 0), ("test_b.py::* | needs a moon", 1)]
)
@pytest.mark.parametrize("beside", [(), ("-n", "1")], ids=["one process", "several"])
def test_skips_by_name(allowed: str, code: int, beside: tuple[str, ...], tmp_path: Path) -> None:
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "allowed-skips.txt").write_text(f"# rules\n{allowed}\n")
    (tmp_path / "test_a.py").write_text("import pytest\ndef test_x(): pytest.skip('needs a moon')\ndef test_y(): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "--skips-by-name", *beside, str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    assert ("does not name" in done.stdout) == (code == 1)

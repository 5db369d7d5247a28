"""The page on training is run: its module trains where PyTorch is, and the search keeps what it promises there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.test_docs import blocks, commands
from tests.frameworks.kit import make

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "optimize-training.md"
pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(400)]


def test_the_page_runs(tmp_path: Path) -> None:
    rows, module, example = blocks(PAGE)[:3]
    subprocess.run([sys.executable, "-c", rows.body], cwd=tmp_path, check=True, timeout=60)
    (tmp_path / "training.py").write_text(module.body)
    make("train", "import runpy\nrunpy.run_path('training.py', run_name='__main__')", tmp_path)
    environment = {**os.environ, "AWEIGH_HOME": str(tmp_path / "home")}
    printed = []
    for command in commands(example)[1:]:
        words = f"{Path(sys.executable).parent}/{command} --json"
        done = subprocess.run(
            ["bash", "-c", words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        printed.append(json.loads(done.stdout))
    kept = [each for each in printed[1]["results"] if each["outcome"] == "kept"]
    assert kept, [(each["name"], each["outcome"], each.get("why")) for each in printed[1]["results"]]
    batch = kept[0]["timed"]["speeds"][-1]
    assert batch["rows"] == 256
    assert batch["times"] > 4  # 8 where nothing else runs

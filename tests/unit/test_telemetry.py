"""ONNX Runtime is told to send nothing before it is imported, by every file that imports it: its Linux wheels do from 1.29 on."""

import ast
from pathlib import Path

import pytest

import aweigh

SOURCE = Path(aweigh.__file__).parent
SAID = "os.environ['ORT_DISABLE_TELEMETRY'] = '1'"


def importers() -> list[Path]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text()
        if "onnxruntime" in text and any(lines(ast.parse(text), "onnxruntime")):
            found.append(path)
    return found


def lines(tree: ast.Module, library: str) -> list[int]:
    """Where a library is imported."""
    found = []
    for node in ast.walk(tree):
        names = (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        found += [node.lineno for name in names if name and name.partition(".")[0] == library]
    return found


@pytest.mark.parametrize("path", importers(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_it_is_told_before_it_is_imported(path: Path) -> None:
    tree = ast.parse(path.read_text())
    told = [node.lineno for node in tree.body if ast.unparse(node) == SAID]
    assert told, f"{path}: say {SAID} before the import"
    assert min(told) < min(lines(tree, "onnxruntime"))


def test_there_are_some() -> None:
    assert len(importers()) > 5

"""Which file imports which library: the facts that `ledger.py` and `dependencies.py` judge. Reads source, imports nothing of it."""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN = {"aweigh", "bench", "tests"}


def third_party(folder: str) -> dict[str, set[str]]:
    """Library -> files under `folder` (paths relative to it) that import it anywhere, inside functions too."""
    base = ROOT / folder
    local = {path.stem for path in base.rglob("*.py")} if folder != "src/aweigh" else set()
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(base.rglob("*.py")):
        for name in _imported(ast.parse(path.read_bytes(), filename=str(path))):
            if name not in sys.stdlib_module_names and name not in OWN and name not in local:
                found[name].add(path.relative_to(base).as_posix())
    return dict(found)


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call):
            yield from _imported_by_name(node)


def _imported_by_name(call: ast.Call) -> Iterator[str]:
    """`importlib.import_module("library")` and `__import__("library")` with a literal name."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    first = call.args[0] if call.args else None
    if name in {"import_module", "__import__"} and isinstance(first, ast.Constant) and isinstance(first.value, str):
        yield first.value.partition(".")[0]

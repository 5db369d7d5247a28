"""The checks themselves: what they must find, they find."""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[3] / "tools"


def tool(name: str) -> ModuleType:
    """A script of tools/, as a module; it may import its neighbours."""
    sys.path.insert(0, str(TOOLS))
    try:
        spec = importlib.util.spec_from_file_location(f"tools_{name}", TOOLS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(TOOLS))
    return module


def test_every_form_of_import_is_seen() -> None:
    source = (
        "import a.b\nfrom c.d import e\ndef f():\n    import g\n    importlib.import_module('h.i')\n    __import__('j')\nfrom . import k\n"
    )
    assert sorted(tool("imports")._imported(ast.parse(source))) == ["a", "c", "g", "h", "j"]


def test_the_ledger_finds_what_is_not_in_it_and_what_is_stale() -> None:
    problems = tool("ledger").problems
    rows = {"numpy": ["core/*"], "grpc": ["client/grpc.py"]}
    assert problems({"numpy": {"core/a.py"}, "grpc": {"client/grpc.py"}}, rows, ["numpy"]) == []
    (stale,) = problems({"numpy": {"core/a.py"}}, rows, ["numpy"])
    assert "grpc = 'client/grpc.py'" in stale
    (new,) = problems({"numpy": {"core/a.py"}, "grpc": {"client/grpc.py", "serve/x.py"}}, rows, ["numpy"])
    assert "src/aweigh/serve/x.py imports grpc" in new
    (low,) = problems({"numpy": {"core/a.py"}, "grpc": {"client/grpc.py"}}, rows, [])
    assert "core stands on" in low


@pytest.mark.parametrize(
    "line", ["--extra-index-url https://x", "./wheels/a.whl", "a @ file:/tmp/a.whl", "--find-links wheels", "/tmp/a.whl"]
)
def test_a_lock_may_hold_no_address(line: str) -> None:
    address = tool("lock").ADDRESS
    assert address.search(f"a==1 \\\n    --hash=sha256:00\n{line}\n")
    assert not address.search("a==1 ; sys_platform != 'win32' \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n")


@pytest.mark.parametrize(
    "text", ["https://pypi" + ".org/simple", "/ro" + "ot/x", "cp /wo" + "rk/a b", "'/op" + "t/wheels'", "/home/" + "ann/x"]
)
def test_traces_are_found(text: str) -> None:
    assert any(pattern.search(text) for pattern in tool("traces").TRACES.values())


@pytest.mark.parametrize("text", ["docs/work/", "~/.aweigh", "the root / of it", "a/opt/b", "https://opencontainers.org/work/"])
def test_harmless_text_is_no_trace(text: str) -> None:
    assert not any(pattern.search(text) for pattern in tool("traces").TRACES.values())

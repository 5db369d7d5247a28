"""`import aweigh` does nothing and imports nothing heavy; its names load when used."""

import importlib.util
import json
import subprocess
import sys

import aweigh

HEAVY = [
    "numpy",
    "onnxruntime",
    "onnx",
    "sklearn",
    "pandas",
    "click",
    "rich",
    "msgspec",
    "orjson",
    "uvloop",
    "httptools",
    "grpc",
    "google",
    "asyncio",
    "logging",
    "ssl",
]


def fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_importing_aweigh_imports_nothing_heavy_and_says_nothing():
    out = fresh("import sys, json; before = set(sys.modules); import aweigh; print(json.dumps(sorted(set(sys.modules) - before)))")
    modules = json.loads(out)
    assert [name for name in modules if name.split(".")[0] in HEAVY] == []
    assert [name for name in modules if name.startswith("aweigh")] == ["aweigh"]


def test_importing_aweigh_starts_no_thread_and_reads_no_environment():
    code = """
import os, sys, threading
seen = []
class Watched(dict):
    def __getitem__(self, key): seen.append(key); return dict.__getitem__(self, key)
    def get(self, key, default=None): seen.append(key); return dict.get(self, key, default)
os.environ = Watched(os.environ)
import aweigh
print(seen, threading.active_count())
"""
    assert fresh(code) == "[] 1\n"


def test_all_is_what_there_is():
    assert dir(aweigh) == sorted(aweigh.__all__)
    assert set(aweigh.__all__) == {*aweigh._EXPORTS, "__version__"}
    assert aweigh.AweighError.__module__ == "aweigh.core.errors"
    assert aweigh.__version__.count(".") == 2


def test_no_name_is_a_module_too():
    """Importing a module binds it in its package: the name would be the module from then on."""
    assert [name for name in aweigh.__all__ if importlib.util.find_spec(f"aweigh.{name}")] == []


def test_a_name_that_is_not_there():
    assert fresh("import aweigh; print(hasattr(aweigh, 'unpack'))") == "False\n"

"""Bytecode for an image: without it, Python compiles every module at every start, because nobody may write in the image. Used by `build`.

Only an interpreter of the same minor version can make it: this one, one that uv keeps, or `python3.X` on the path.
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aweigh.core.errors import InternalError, MissingLibrary
from aweigh.deploy.images.inside import bytecode_path
from aweigh.deploy.platforms import Python
from aweigh.isolate.installers import uv

_COMPILER: Final = Path(__file__).with_name("compiler.py")
_COMPILE_S: Final = 600.0
_FIND_S: Final = 60.0


def compile_modules(modules: Mapping[str, bytes], python: Python, interpreter: str) -> dict[str, bytes]:
    """Bytecode by path, for sources by path. The same sources give the same bytes, whoever compiles and when."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out:
        for path, text in sorted(modules.items()):
            name = path.encode()
            source.write(struct.pack("<II", len(name), len(text)) + name + text)
        source.seek(0)
        done = subprocess.run(
            [interpreter, "-S", "-B", "-W", "ignore", str(_COMPILER)],
            stdin=source,
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=_COMPILE_S,
            check=False,
            env={"PYTHONHASHSEED": "0"},  # the order of sets that are constants
        )
        if done.returncode:
            raise InternalError(f"{interpreter} could not compile: {done.stderr.decode(errors='replace')[-400:]}")
        out.seek(0)
        found = {}
        while head := out.read(8):
            name_bytes, size_bytes = struct.unpack("<II", head)
            path = out.read(name_bytes).decode()
            found[bytecode_path(path, python)] = out.read(size_bytes)
        return found


def find_interpreter(python: Python) -> str:
    """An interpreter of this minor version. Raises MissingLibrary."""
    if sys.version_info[:2] == python and sys.implementation.name == "cpython":
        return sys.executable
    version = f"{python[0]}.{python[1]}"
    program = uv()
    candidates = [found] if (found := shutil.which(f"python{version}")) else []
    if program is not None:
        said = _output([program, "python", "find", "--no-project", version])
        candidates += said.split("\n")[:1] if said else []
    for candidate in candidates:
        if (
            _output([candidate, "-S", "-c", "import sys; print(sys.implementation.name, *sys.version_info[:2])"])
            == f"cpython {python[0]} {python[1]}"
        ):
            return candidate
    raise MissingLibrary(
        f"the base has Python {version}, and bytecode for it is made by Python {version} alone, which is not here",
        hint=f"'uv python install {version}', or a base with Python {sys.version_info[0]}.{sys.version_info[1]}; or --no-bytecode: it starts slower",
    )


def version_of(interpreter: str) -> str:
    """The interpreter's version with its patch release, which may compile otherwise than another: 'CPython 3.11.7'."""
    return _output([interpreter, "-S", "-c", "import platform; print(platform.python_implementation(), platform.python_version())"])


def _output(command: list[str]) -> str:
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FIND_S, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

"""Sources for tests of frameworks: small scripts run by the interpreter of the framework's own environment, which is made where it is not there."""

import os
import subprocess
import textwrap
from pathlib import Path

from aweigh.core.settings import Settings
from aweigh.isolate import Environments

LIMIT_S = 300.0


def environments() -> Environments:
    """The user's own, so that gigabytes are installed once."""
    return Environments(Settings().environments_folder)


def make(environment: str, script: str, folder: Path) -> Path:
    """Run a script in the folder with the environment's interpreter; gives the folder back."""
    home = environments().home(environment)
    folder.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), home.code)), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [home.python, "-P", "-c", textwrap.dedent(script)],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder

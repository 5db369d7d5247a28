"""Runs a program for a parent and ends with it, with all that the program started: `python -IS watched.py PARENT PROGRAM WORD …`, in a session of its own.

`git` starts it; the standard library alone.
"""

import os
import signal
import subprocess
import sys
from typing import Final

_LOOK_S: Final = 0.2


def main(parent: int, command: list[str]) -> int:
    """The program's exit code; 1 where a signal ended it."""
    with subprocess.Popen(command) as process:
        while True:
            try:
                code = process.wait(_LOOK_S)
                return code if code >= 0 else 1
            except subprocess.TimeoutExpired:
                if os.getppid() != parent:
                    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))

"""A model that writes down every row that it is run with, and takes as long as the row says: the proof of what was never started.

It runs in a process. `lasting` takes its time on threads: a second or two where the row holds 7777.
"""

import sys
from pathlib import Path

import numpy as np
from tests.serving.models import lasting, linear

import aweigh

HOOK = """
import time

def pre(tensors):
    rows = tensors["X"]
    with open({path!r}, "a") as record:
        record.writelines("%g\\n" % row[0] for row in rows)
    time.sleep(max((float(row[3]) - 1000 for row in rows if row[3] > 1000), default=0))
    return tensors
"""


class Counted:
    """A store with `counted` and `lasting`. A row is a number by which it is known again, and seconds."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._record = folder / "record"
        (folder / "counting_hook.py").write_text(HOOK.format(path=str(self._record)))
        sample = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
        aweigh.pack(str(lasting(folder, turns=1500)), "lasting", sample=np.ones((3, 1), np.float32), home=str(self.home))
        sys.path.insert(0, str(folder))
        try:
            aweigh.pack(str(linear(folder)), "counted", sample=sample, pre="counting_hook:pre", home=str(self.home))
        finally:
            sys.path.remove(str(folder))

    def ran(self, number: float) -> int:
        """How often the model was run with that row."""
        return self._record.read_text().split("\n").count(f"{number:g}") if self._record.exists() else 0


def row(number: float, seconds: float = 0.0) -> list[float]:
    return [number, 0.0, 0.0, 1000.0 + seconds]

"""What a model gives in process, without any server: sessions asked by so many callers with so many rows, as told on standard input.

`python -m bench.ceiling INPUTS.npz` reads one JSON object a line and prints one for each. Must run as a process of its own, so that its CPU time
and its threads are nobody else's. Started by `compute.py`.
"""

import json
import sys
import threading
import time
from typing import Any

import numpy as np

from bench.session import Session


class Ceiling:
    """The sessions of one file, each made when it is first asked for."""

    def __init__(self, path: str) -> None:
        with np.load(path) as file:
            self._row = {name: file[name] for name in file.files}
        self._sessions: dict[int, Session] = {}

    def measure(self, *, threads: int, callers: int, rows: int, seconds: float) -> dict[str, Any]:
        """Rows a second of `callers` that each call a session of `threads` threads again and again with `rows` rows."""
        if threads not in self._sessions:
            self._sessions[threads] = Session.of_environment(threads)
        session = self._sessions[threads]
        feeds = {name: np.repeat(array, rows, axis=0) for name, array in self._row.items()}
        session.run(feeds)
        calls = [0] * callers
        cpu, began = time.process_time(), time.perf_counter()

        def call(which: int) -> None:
            while time.perf_counter() - began < seconds:
                session.run(feeds)
                calls[which] += 1

        callers_now = [threading.Thread(target=call, args=(which,)) for which in range(callers)]
        for caller in callers_now:
            caller.start()
        for caller in callers_now:
            caller.join()
        return {"requests": sum(calls) * rows, "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


def main(path: str) -> None:
    ceiling = Ceiling(path)
    for line in sys.stdin:
        print(json.dumps(ceiling.measure(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

"""The runner's server as a process, over a model that sleeps for as many seconds as the first element of its first row says: `python -m tests.runner.sleeper LIMITS`."""

import json
import sys
import time

import numpy as np
from tests.runner.kit import forms_of
from tests.serving.kit import answer, signature

from aweigh.core.tensors import Tensor, Tensors
from aweigh.runner.server import Server, open_port


def slow(inputs: Tensors) -> list[Tensor]:
    time.sleep(max(0.0, float(np.asarray(inputs["X"])[0, 0])))
    return answer(inputs)


if __name__ == "__main__":
    listener = open_port("127.0.0.1", 0)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    server = Server(forms_of(slow, signature(), **json.loads(sys.argv[1])), listener)
    server.run(lambda: print(json.dumps({"event": "ready", "address": address}), file=sys.stderr, flush=True))

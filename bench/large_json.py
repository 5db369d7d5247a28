"""How long a 1x3x224x224 tensor in JSON takes to become an array: orjson and numpy against aweigh's road. `python -m bench.large_json`."""

import time
from collections.abc import Callable

import numpy as np
import orjson

from aweigh.core.settings import Settings
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.engine.acceptance import Acceptance
from aweigh.serve.large_json import LargeJson

ROUNDS = 20
SHAPE = (1, 3, 224, 224)


def best_ms(function: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times) * 1000


def main() -> None:
    tensor = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    spec = TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, *SHAPE[1:]))
    acceptance, reader = Acceptance(Signature(inputs=(spec,), outputs=(spec,))), LargeJson(Settings().max_body_bytes // 8)
    for form, data in (("flat", tensor.ravel()), ("nested", tensor)):
        request = {"inputs": [{"name": "X", "shape": list(SHAPE), "datatype": "FP32", "data": data}]}
        body = orjson.dumps(request, option=orjson.OPT_SERIALIZE_NUMPY)
        usual = best_ms(lambda body=body: np.array(orjson.loads(body)["inputs"][0]["data"], dtype=np.float32).reshape(SHAPE))
        ours = best_ms(lambda body=body: reader.read(body, acceptance, 10))
        print(f"{form}: orjson and numpy {usual:.2f} ms, aweigh {ours:.2f} ms, {usual / ours:.1f} times as fast ({len(body):,} bytes)")


if __name__ == "__main__":
    main()

"""BentoML: one service, one API. Loaded by `bentoml serve`, in BentoML's own environment."""

import os
from typing import Any

import bentoml

from bench.session import NAME_VARIABLE, Session


@bentoml.service(workers=int(os.environ["BENCH_WORKERS"]), logging={"access": {"enabled": False}})
class Infer:
    def __init__(self) -> None:
        self.session = Session.of_environment()

    @bentoml.api(route=f"/v2/models/{os.environ[NAME_VARIABLE]}/infer")
    async def infer(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        return self.session.of_json(inputs)

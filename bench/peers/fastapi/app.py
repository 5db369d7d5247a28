"""FastAPI as its tutorial has it: pydantic models in, an `async def` route. Runs in FastAPI's own environment, under uvicorn."""

import os
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from bench.session import FORM_VARIABLE, HEADER_LENGTH, NAME_VARIABLE, Session


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    """Not `list[float]`: pydantic would look at each number, numpy does so anyway."""


class InferRequest(BaseModel):
    inputs: list[Tensor]
    id: str | None = None


app = FastAPI()
session = Session.of_environment()
ROUTE = f"/v2/models/{os.environ[NAME_VARIABLE]}/infer"


if os.environ[FORM_VARIABLE] == "binary":

    @app.post(ROUTE)
    async def infer_binary(request: Request) -> Response:
        body, header_length = session.of_binary(await request.body(), int(request.headers[HEADER_LENGTH]))
        return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(header_length)})

else:

    @app.post(ROUTE)
    async def infer(request: InferRequest) -> JSONResponse:
        return JSONResponse(session.of_json([tensor.model_dump() for tensor in request.inputs]))

"""Moving a name from version to version while the server runs: GET /rollouts[/NAME] tells, POST /rollouts/NAME begins, …/promote and …/rollback end.

The body of a beginning is a `core.rollout.Plan` without its name: `{"candidate": 2, "canary": 0.1, "shadow": 1, "bounds": {"difference": 0.01}}`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from aweigh.core.errors import AweighError, InvalidInput
from aweigh.core.names import check_asked
from aweigh.core.rollout import Plan
from aweigh.engine.dataplane import DataPlane
from aweigh.serve.message import AnyResponse, Request, Response
from aweigh.serve.outcome import failure_of
from aweigh.serve.repository import rollouts_of
from aweigh.serve.router import Permission, Route
from aweigh.serve.status import json_error

_MAX_BYTES: Final = 64 * 1024
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class RolloutRoutes:
    """The dialect."""

    name = "rollouts"

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    def routes(self) -> list[Route]:
        def route(method: str, template: str, handler: Any) -> Route:
            return Route(method=method, template=template, permission=Permission.OPERATE, handler=handler, failure=self.failure)

        return [
            route("GET", "/rollouts", partial(self._reports, "")),
            route("GET", "/rollouts/{name}", lambda request: self._reports(_name(request), request)),
            route("POST", "/rollouts/{name}", self._begin),
            route("POST", "/rollouts/{name}/promote", lambda request: self._end(request, rollouts_of(self._dataplane).promote)),
            route("POST", "/rollouts/{name}/rollback", lambda request: self._end(request, rollouts_of(self._dataplane).rollback)),
        ]

    def failure(self, error: AweighError, request: Request) -> AnyResponse:
        return json_error(error, code=error.code, hint=error.hint, request_id=request.id.decode())

    def _reports(self, name: str, request: Request) -> None:
        rollouts_of(self._dataplane).reports(name, partial(_answer, request))

    def _begin(self, request: Request) -> None:
        if len(request.body) > _MAX_BYTES:
            raise InvalidInput(f"a plan of {len(request.body)} bytes", hint='send {"candidate": VERSION, "canary": 0.1}')
        try:
            asked = _decode(request.body)
            if "name" in asked:
                raise msgspec.ValidationError("Object contains unknown field `name`: the path says which model")
            plan = msgspec.convert({**asked, "name": _name(request)}, Plan)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"not a rollout: {error}", hint='send {"candidate": VERSION, "canary": 0.1}') from None
        rollouts_of(self._dataplane).begin(plan, partial(_answer, request))

    def _end(self, request: Request, verb: Callable[[str, Any], None]) -> None:
        verb(_name(request), partial(_answer, request))


def _name(request: Request) -> str:
    name = request.head.params["name"]
    check_asked(name)
    return name


def _answer(request: Request, outcome: Any, error: AweighError | None) -> None:
    request.reply(request, failure_of(error, request) if error is not None else Response(200, msgspec.json.encode(outcome)))

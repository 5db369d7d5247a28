"""The runner's forms by themselves: routes, keys, errors. That its answers are the server's is tests/contract/runner."""

import json
import math

import numpy as np
import pytest
from tests.runner.kit import ask, forms_of
from tests.serving.kit import answer, echo, echo_signature, signature

from aweigh.core.tensors import Datatype
from aweigh.runner.aws_lambda import handle
from aweigh.runner.errors import Refusal
from aweigh.runner.forms import Forms

ROW = {"a": 1, "b": 2, "c": 3, "d": 4}


@pytest.fixture
def forms() -> Forms:
    return forms_of(answer, signature(), rows=8)


@pytest.mark.parametrize("path", ["/live", "/ready", "/ping", "/v2/health/live", "/v2/health/ready", "/v2/models/iris/ready", "/", "/v2"])
def test_probes_are_answered(forms: Forms, path: str) -> None:
    assert ask(forms, path).status == 200
    assert ask(forms, path, method="HEAD").status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/predict/other", 404),
        ("GET", "/predict/iris/versions/2", 404),
        ("GET", "/predict/iris/versions/1", 200),
        ("DELETE", "/predict/iris", 405),
        ("POST", "/ping", 405),
        ("GET", "/v2/models/iris/infer", 405),
        ("POST", "/v2/models/iris", 405),
        ("GET", "/v2/models/iris/stats", 404),
    ],
)
def test_what_is_not_there_says_so(forms: Forms, method: str, path: str, status: int) -> None:
    response = ask(forms, path, method=method)
    assert (response.status, status == 200 or "error" in json.loads(response.body)) == (status, True)


def test_a_key_is_asked_for_where_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from aweigh.runner import forms as module

    monkeypatch.setitem(module.environ, b"AWEIGH_API_KEY", b"a long enough secret")
    forms = forms_of(answer, signature())
    assert ask(forms, "/ready").status == 200
    assert ask(forms, "/predict/iris", [ROW]).status == 401
    assert ask(forms, "/predict/iris", [ROW], authorization="Bearer é").status == 401
    assert ask(forms, "/predict/iris", [ROW], authorization="Bearer a long enough secret").status == 200
    assert ask(forms, "/predict/iris", [ROW], x_api_key="a long enough secret").status == 200


def test_a_key_guards_every_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths that are public for GET as well: the front page, and a path that Vertex names for health and predictions alike."""
    from aweigh.runner import forms as module

    monkeypatch.setitem(module.environ, b"AWEIGH_API_KEY", b"a long enough secret")
    monkeypatch.setitem(module.environ, b"AIP_HEALTH_ROUTE", b"/same")
    monkeypatch.setitem(module.environ, b"AIP_PREDICT_ROUTE", b"/same")
    forms = forms_of(answer, signature())
    for path, body in (("/", [ROW]), ("/same", {"instances": [ROW]})):
        assert [ask(forms, path, method=method).status for method in ("GET", "HEAD")] == [200, 200]
        assert ask(forms, path, body).status == 401
        assert ask(forms, path, body, x_api_key="a long enough secret").status == 200
    for path in ("/", "/prod/fraud"):
        event = {"rawPath": path, "requestContext": {"http": {"method": "POST"}}, "body": json.dumps([ROW]), "headers": {}}
        assert handle(forms, event)["statusCode"] == 401
        assert handle(forms, event | {"headers": {"X-Api-Key": "a long enough secret"}})["statusCode"] == 200


def test_vertex_has_the_routes_that_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from aweigh.runner import forms as module

    monkeypatch.setitem(module.environ, b"AIP_HEALTH_ROUTE", b"/health")
    monkeypatch.setitem(module.environ, b"AIP_PREDICT_ROUTE", b"/predict")
    forms = forms_of(answer, signature())
    assert ask(forms, "/health").status == 200
    told = json.loads(ask(forms, "/predict", {"instances": [ROW, [4, 3, 2, 1]][:1]}).body)
    assert told == {"predictions": [{"label": 10, "probability_0": 1.0, "probability_1": 2.0, "probability_2": 3.0}]}
    assert ask(forms, "/predict", {"rows": [ROW]}).status == 400


def test_csv_comes_in_and_goes_out(forms: Forms) -> None:
    response = ask(forms, "/invocations", b"1,2,3,4\r\n\r\n5,6,7,8\n", content_type="text/csv; charset=utf-8", accept="text/csv")
    assert response.body == b"10,1.0,2.0,3.0\n26,5.0,6.0,7.0\n"
    for body in (b"1,2,3\n", b"1,2,x,4\n", b'"', b"\xff"):
        assert ask(forms, "/invocations", body, content_type="text/csv").status == 400
    assert ask(forms, "/invocations", b"x", content_type="image/png").status == 415


def test_csv_of_texts() -> None:
    forms = forms_of(echo, echo_signature(Datatype.BYTES))
    response = ask(forms, "/invocations", '"a,""b"""\n é \n'.encode(), content_type="text/csv", accept="text/csv")
    assert response.body.decode() == '"a,""b"""\n é \n'


def test_limits_are_kept(forms: Forms) -> None:
    assert ask(forms, "/predict/iris", [ROW] * 9).status == 413
    assert ask(forms, "/predict/iris", [ROW] * 8).status == 200


def test_a_bug_is_a_500_without_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> list[np.ndarray]:
        raise ZeroDivisionError("secret")

    response = ask(forms_of(fail, signature()), "/predict/iris", [ROW])
    assert response.status == 500
    assert b"secret" not in response.body
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_floats_are_as_short_as_they_can_be() -> None:
    forms = forms_of(echo, echo_signature(Datatype.FP32))
    values = [0.1, 1 / 3, 16777216.0, 1e-45, 3.4e38, -0.0, 1e10]
    body = {"inputs": [{"name": "X", "shape": [len(values)], "datatype": "FP32", "data": values}]}
    told = ask(forms, "/v2/models/iris/infer", body).body
    assert b"[0.1,0.33333334,16777216.0," in told
    assert np.array_equal(np.float32(json.loads(told)["outputs"][0]["data"]), np.float32(values))


class TestLambda:
    def test_a_direct_event_is_a_plain_body(self, forms: Forms) -> None:
        assert handle(forms, {"rows": [ROW]})["predictions"][0]["label"] == 10
        with pytest.raises(Refusal, match="column 'd' is missing"):
            handle(forms, {"rows": [{"a": 1, "b": 2, "c": 3}]})

    @pytest.mark.parametrize("path", ["/", "/prod/fraud", "/predict/iris"])
    def test_a_request_of_the_gateway(self, forms: Forms, path: str) -> None:
        event = {
            "version": "2.0",
            "rawPath": path,
            "headers": {"Content-Type": "application/json"},
            "requestContext": {"http": {"method": "POST"}, "requestId": "abc"},
            "body": "eyJyb3dzIjogW1sxLCAyLCAzLCA0XV19",
            "isBase64Encoded": True,
        }
        told = handle(forms, event)
        assert (told["statusCode"], told["isBase64Encoded"], json.loads(told["body"])["id"]) == (200, False, "abc")
        old = {"httpMethod": "POST", "path": path, "headers": None, "requestContext": {}, "body": '{"rows": 1}'}
        assert handle(forms, old)["statusCode"] == 400

    def test_a_request_whose_body_is_not_base64(self, forms: Forms) -> None:
        event = {"rawPath": "/", "requestContext": {"http": {"method": "POST"}}, "body": "abcde", "isBase64Encoded": True}
        told = handle(forms, event)
        assert (told["statusCode"], told["headers"]["x-request-id"]) == (400, json.loads(told["body"])["request_id"])
        assert "base64" in json.loads(told["body"])["error"]

    def test_binary_answers_are_coded(self, forms: Forms) -> None:
        body = {
            "inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}],
            "parameters": {"binary_data_output": True},
        }
        event = {"rawPath": "/v2/models/iris/infer", "requestContext": {"http": {"method": "POST"}}, "body": json.dumps(body)}
        assert handle(forms, event)["isBase64Encoded"] is True


def test_nan_is_null_in_rows_and_a_token_in_tensors() -> None:
    forms = forms_of(echo, echo_signature(Datatype.FP64))
    assert json.loads(ask(forms, "/predict/iris", [None]).body)["predictions"] == [{"Y": None}]
    told = ask(forms, "/v2/models/iris/infer", {"inputs": [{"name": "X", "shape": [1], "datatype": "FP64", "data": [None]}]})
    assert math.isnan(json.loads(told.body)["outputs"][0]["data"][0])

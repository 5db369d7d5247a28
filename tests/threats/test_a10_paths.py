"""A10, paths in names: what a peer or a person calls a model, a version or an alias is checked against a list of what is allowed, at every door.

400 at REST, INVALID_ARGUMENT at gRPC, exit code 2 at the command line. Where a name is merely nobody's (`CON`, which Open Inference allows), V2's
own answer stands: 404, for nothing here becomes a path; blobs are found by digest. The grammar: tests/unit/core/test_names.py. Addresses
of registries: tests/unit/store/remotes/test_address.py. Paths inside packages: tests/unit/store/test_layout.py.
"""

from pathlib import Path
from urllib.parse import quote

import pytest
from tests.serving.kit import grpc_frame
from tests.threats.commands import Done, run, run_all
from tests.threats.siege import Frames, Line, Siege

from aweigh.protos import message

NAMES = {
    "..": "..",
    "../x": "../x",
    "../../etc/passwd": "../../etc/passwd",
    "%2e%2e%2f": "%2e%2e%2f",
    "..%252f": "..%252f",
    "NUL": "a\0b",
    "C:\\": "C:\\",
    "//host/x": "//host/x",
    "file:///etc": "file:///etc",
    "http:///#/../../etc": "http:///#/../../etc",
    "?/../": "?/../",
    "4096 characters": "a" * 4096,
    "NFC": "caf\u00e9",
    "NFD": "cafe\u0301",
    "trailing space": "linear ",
    "trailing point": "linear.",
    "line end": "linear\n",
    "backslash": "..\\x",
    "percent": "linear%00",
    "tilde": "~root",
    "full width": "\uff4cinear",
}
NOBODYS = {"CON": "CON", "upper-case twin": "Linear", "aux.txt": "aux.txt"}
"""Names that other servers allow: V2 says 404 to them, and the file systems that they trouble are never asked."""
ROUTES = [
    ("GET", "/v2/models/{}"),
    ("GET", "/v2/models/{}/ready"),
    ("GET", "/v2/models/{}/stats"),
    ("GET", "/v2/models/{}/config"),
    ("POST", "/v2/models/{}/infer"),
    ("GET", "/v2/models/linear/versions/{}"),
    ("GET", "/v2/models/linear/versions/{}/ready"),
    ("POST", "/v2/models/linear/versions/{}/infer"),
    ("POST", "/v2/repository/models/{}/load"),
    ("POST", "/v2/repository/models/{}/unload"),
    ("POST", "/predict/{}"),
    ("GET", "/predict/{}"),
    ("POST", "/predict/linear/versions/{}"),
]
SERVICE = "/inference.GRPCInferenceService/"
METHODS = [
    (SERVICE + "ModelInfer", "inference.ModelInferRequest", "model_name"),
    (SERVICE + "ModelInfer", "inference.ModelInferRequest", "model_version"),
    (SERVICE + "ModelReady", "inference.ModelReadyRequest", "name"),
    (SERVICE + "ModelReady", "inference.ModelReadyRequest", "version"),
    (SERVICE + "ModelMetadata", "inference.ModelMetadataRequest", "name"),
    (SERVICE + "ModelMetadata", "inference.ModelMetadataRequest", "version"),
    (SERVICE + "ModelConfig", "inference.ModelConfigRequest", "name"),
    (SERVICE + "ModelStatistics", "inference.ModelStatisticsRequest", "name"),
    (SERVICE + "RepositoryModelLoad", "inference.RepositoryModelLoadRequest", "model_name"),
    (SERVICE + "RepositoryModelUnload", "inference.RepositoryModelUnloadRequest", "model_name"),
    ("/grpc.health.v1.Health/Check", "grpc.health.v1.HealthCheckRequest", "service"),
]
INVALID, NOT_FOUND = 3, 5


def statuses(siege: Siege, name: str) -> dict[str, int]:
    """What each route of REST says to a name."""
    found = {}
    with Line(siege.server) as line:
        for method, template in ROUTES:
            path = template.format(quote(name, safe=""))
            line.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            answer = line.receive()
            assert len(answer.body) < 2000
            assert b"/etc" not in answer.body.replace(name[:64].encode(), b"")
            found[f"{method} {template}"] = answer.status
    return found


def codes(siege: Siege, name: str) -> dict[str, int]:
    """What each method of gRPC says to a name."""
    found = {}
    with Frames(siege.server) as frames:
        for at, (path, kind, field) in enumerate(METHODS):
            known = {"version": {"name": "linear"}, "model_version": {"model_name": "linear"}}.get(field, {})
            asked = message(kind)(**known, **{field: name})
            frames.call(2 * at + 1, grpc_frame(asked.SerializeToString()), path=path)
            found[f"{path} {field}"] = frames.status(2 * at + 1)
    return found


@pytest.mark.parametrize("case", NAMES)
def test_a_name_that_could_be_a_path_is_refused_by_every_route(either: Siege, case: str) -> None:
    with either.attack(case, factor=5):
        assert set(statuses(either, NAMES[case]).values()) == {400}


@pytest.mark.parametrize("case", NAMES)
def test_a_name_that_could_be_a_path_is_refused_by_every_method(either: Siege, case: str) -> None:
    with either.attack(case, factor=5):
        assert set(codes(either, NAMES[case]).values()) == {INVALID}


@pytest.mark.parametrize("case", NOBODYS)
def test_a_name_that_is_merely_nobodys_is_not_found(siege: Siege, case: str) -> None:
    loads = {"POST /v2/repository/models/{}/load", f"{SERVICE}RepositoryModelLoad model_name"}  # the store's own grammar is narrower
    found = {**statuses(siege, NOBODYS[case]), **codes(siege, NOBODYS[case])}
    assert {status for door, status in found.items() if door not in loads} <= {404, NOT_FOUND, 0}
    assert {found[door] for door in loads} <= {400, 404, INVALID, NOT_FOUND}


@pytest.mark.parametrize(
    "target",
    ["/v2/models/../../etc/passwd", "/v2/models/%2e%2e/%2e%2e/etc/passwd", "/v2/./models/linear", "//v2/models/linear", "/v2//models/linear", "/v2/models/linear/../words", "/..%2fv2", "/v2/models/linear;x=1", "/v2/models/linear/infer/..%2f..", "http://a/../etc"],
)  # fmt: skip
def test_other_spellings_of_a_path_are_nobodys(either: Siege, target: str) -> None:
    """Nothing is ever normalised: a proxy that judged one spelling is not fooled by another."""
    with Line(either.server) as line:
        line.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert line.receive().status in {400, 404}


SHORT = {case: NAMES[case] for case in ("../x", "C:\\", "file:///etc", "4096 characters", "NFD", "trailing space")}
COMMANDS: dict[str, list[str]] = {
    "show": ["show", "{}"],
    "show, a version": ["show", "linear:{}"],
    "show, an alias": ["show", "linear@{}"],
    "alias, of what": ["alias", "{}", "champion"],
    "alias, as what": ["alias", "linear", "{}"],
    "remove": ["remove", "{}:1"],
    "export": ["export", "{}", "out.tar"],
    "verify": ["verify", "{}"],
    "push": ["push", "{}", "127.0.0.1:9/x"],
    "pull, as what": ["pull", "127.0.0.1:9/x:1", "--name", "{}"],
    "import, as what": ["import", "good.tar", "--name", "{}"],
    "pack, as what": ["pack", "absent.onnx", "--name", "{}"],
}


@pytest.fixture(scope="module")
def told(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Each command with a few names, and each name with one command. `serve` and `predict` take files by their paths, so ../x is one."""
    good = str(tmp_path_factory.mktemp("good") / "good.tar")
    assert run(home, "export", "linear", good).code == 0
    pairs = {(command, "../x") for command in COMMANDS} | {("show", case) for case in SHORT}
    words = {
        f"{command} {case}": [word.replace("{}", SHORT[case]).replace("good.tar", good) for word in COMMANDS[command]]
        for command, case in pairs
    }
    return run_all(home, words)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_refuses_a_name_that_could_be_a_path(told: dict[str, Done], command: str) -> None:
    done = told[f"{command} ../x"]
    assert done.code == 2, done.said
    assert done.error["code"] == "invalid-name", done.said


@pytest.mark.parametrize("case", SHORT)
def test_the_command_line_refuses_every_such_name(told: dict[str, Done], case: str) -> None:
    assert (told[f"show {case}"].code, told[f"show {case}"].error["code"]) == (2, "invalid-name")

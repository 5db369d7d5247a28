"""Lambda: the archive under AWS's own Runtime Interface Emulator and AWS's own Python client of it, SAM's judgement, and AWS's calls against moto."""

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from tests.e2e.clouds.conftest import ROWS, Deploy, Undeploy, ask, aws, free_port, right, running
from tests.images import iris_image, run_container, unpack
from tests.toolboxes import python_of, toolbox

from aweigh.core.errors import AweighError

INVOKE = "/2015-03-31/functions/function/invocations"
RIE = "lib/python{}.{}/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64".format(*sys.version_info)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def emulator() -> Path:
    """It lies in the wheel of SAM's own command line."""
    return toolbox("aws").parent / RIE


def lambda_environment(task: Path, **more: str) -> dict[str, str]:
    facts = {"FUNCTION_NAME": "linear", "FUNCTION_TIMEOUT": "10", "FUNCTION_MEMORY_SIZE": "512"}
    return {
        **{f"AWS_LAMBDA_{name}": value for name, value in facts.items()},
        "LAMBDA_TASK_ROOT": str(task),
        "ORT_DISABLE_TELEMETRY": "1",
        **more,
    }


def emulated(command: list[str | Path]) -> tuple[list[str | Path], int]:
    """The words that run a command under the emulator, and the port at which it is asked."""
    port = free_port()
    where = ["--runtime-interface-emulator-address", f"127.0.0.1:{port}", "--runtime-api-address", f"127.0.0.1:{free_port()}"]
    return [emulator(), *where, "--log-level", "warn", *command], port


def check_answers(port: int) -> None:
    """A direct event, a request by the function's address, a mistake, and the event after it."""
    status, said = ask(port, "POST", INVOKE, ROWS)
    assert status == 200
    assert right(said["predictions"]), said
    event = {"requestContext": {"http": {"method": "POST"}}, "rawPath": "/", "headers": {}, "body": json.dumps({"rows": ROWS})}
    status, said = ask(port, "POST", INVOKE, event)
    assert (status, said["statusCode"]) == (200, 200)
    assert right(json.loads(said["body"])["predictions"])
    status, said = ask(port, "POST", INVOKE, [[1.0]])
    assert "row 0 is not a list of 4 values" in said["errorMessage"]
    assert right(ask(port, "POST", INVOKE, {"rows": ROWS})[1]["predictions"])


@pytest.mark.index
def test_the_archive_answers_under_the_emulator_on_python_3_12(deploy: Deploy, tmp_path: Path) -> None:
    python = python_of("3.12")
    assert deploy("lambda", tmp_path / "out").findings == []
    task = tmp_path / "task"
    with zipfile.ZipFile(tmp_path / "out/function.zip") as archive:
        archive.extractall(task)
    client = toolbox("lambda", python)
    words, port = emulated([client / "python", "-m", "awslambdaric", "run.handler"])
    with running(words, port, environment=lambda_environment(task), folder=task):
        check_answers(port)


@pytest.mark.index
def test_the_image_answers_with_the_emulator_as_its_entrypoint(tmp_path: Path) -> None:
    bundle = unpack(iris_image("--runner"), tmp_path / "bundle")
    shutil.copy(emulator(), bundle / "rootfs/rie")
    entry = json.loads((bundle / "config.json").read_text())["process"]["args"]
    port = free_port()
    where = ("--runtime-interface-emulator-address", f"127.0.0.1:{port}", "--runtime-api-address", f"127.0.0.1:{free_port()}")
    command = ("/rie", *where, "--log-level", "warn", *entry)
    with run_container(
        bundle, tmp_path / "run", command=command, environment=lambda_environment(Path("/app")), port=port, ready=""
    ) as started:
        rows = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
        deadline = time.monotonic() + 30
        while True:
            try:
                status, said = ask(port, "POST", INVOKE, rows)
                break
            except OSError:
                assert time.monotonic() < deadline, started.said()
                time.sleep(0.05)
        assert (status, [row["label"] for row in said["predictions"]]) == (200, [0, 2]), started.said()
        assert "errorMessage" in ask(port, "POST", INVOKE, [[1.0]])[1]


@pytest.mark.index
@pytest.mark.parametrize("options", [["provisioned=2", "url=none"], ["architecture=arm64", "url=off"]])
def test_sam_takes_the_template(deploy: Deploy, tmp_path: Path, options: list[str]) -> None:
    assert deploy("lambda", tmp_path / "out", *options).findings == []
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-west-1"}
    words = [toolbox("aws") / "sam", "validate", "--lint", "--template-file", str(tmp_path / "out/template.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=110, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is a valid SAM Template" in done.stdout + done.stderr


@pytest.mark.index
def test_the_calls_to_aws_make_change_and_remove_the_function(
    deploy: Deploy, undeploy: Undeploy, moto: dict[str, str], tmp_path: Path
) -> None:
    first = deploy("lambda", tmp_path / "out", "region=eu-west-1", environment=moto)
    function = aws(moto, "lambda", "get-function", "--function-name", "linear")["Configuration"]
    assert (function["Runtime"], function["Handler"], function["MemorySize"]) == ("python3.12", "run.handler", 512)
    assert function["Environment"]["Variables"] == {"ORT_DISABLE_TELEMETRY": "1"}
    assert function["CodeSize"] == (tmp_path / "out/function.zip").stat().st_size
    assert first.deployment is not None
    assert first.deployment.address.startswith("https://")
    aws(moto, "s3api", "create-bucket", "--bucket", "models", "--create-bucket-configuration", "LocationConstraint=eu-west-1")
    second = deploy("lambda", tmp_path / "out", "region=eu-west-1", "memory_mib=1024", "bucket=models", environment=moto)
    assert second.deployment is not None
    assert aws(moto, "lambda", "get-function", "--function-name", "linear")["Configuration"]["MemorySize"] == 1024
    assert len(aws(moto, "s3api", "list-objects-v2", "--bucket", "models")["Contents"]) == 1
    alias = aws(moto, "lambda", "get-alias", "--function-name", "linear", "--name", "live")
    assert alias["FunctionVersion"] == second.deployment.facts["version"]
    lacking = (tmp_path / "lacking.log").read_text().splitlines()
    assert [line.split()[1] for line in lacking] == ["delete-provisioned-concurrency-config"] * 2
    undeploy("lambda", moto)
    assert aws(moto, "lambda", "list-functions")["Functions"] == []
    assert aws(moto, "iam", "list-roles")["Roles"] == []


@pytest.mark.index
def test_the_functions_address_is_opened_closed_and_taken_away(deploy: Deploy, moto: dict[str, str], tmp_path: Path) -> None:
    live = ("--function-name", "linear", "--qualifier", "live")

    def after(url: str) -> tuple[str, set[str]]:
        deploy("lambda", tmp_path / "out", f"url={url}", environment=moto)
        said = subprocess.run(
            [toolbox("aws") / "aws", "lambda", "get-function-url-config", *live, "--query", "AuthType", "--output", "text"],
            capture_output=True, text=True, timeout=60, check=False, env=moto,
        )  # fmt: skip
        policy = subprocess.run(
            [toolbox("aws") / "aws", "lambda", "get-policy", *live, "--query", "Policy", "--output", "text"],
            capture_output=True, text=True, timeout=60, check=False, env=moto,
        )  # fmt: skip
        return said.stdout.strip(), {each["Action"] for each in json.loads(policy.stdout or '{"Statement": []}')["Statement"]}

    assert after("iam") == ("AWS_IAM", set())
    assert after("none") == ("NONE", {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"})
    assert after("iam") == ("AWS_IAM", set())
    assert after("none") == ("NONE", {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"})
    assert after("off") == ("", set())


@pytest.mark.index
def test_a_python_whose_glibc_is_too_old_is_refused(deploy: Deploy, tmp_path: Path) -> None:
    with pytest.raises(AweighError, match=r"glibc 2\.26"):
        deploy("lambda", tmp_path, "runtime=python3.11")

"""SageMaker: the image by its container contract under runc, and the calls that make and remove an endpoint against moto."""

import socket
import time
from pathlib import Path

import pytest
from tests.e2e.clouds.conftest import Deploy, Undeploy, ask, aws
from tests.images import run_container

from aweigh.core.errors import Refused

pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.timeout(400)]
ROLE = "role=arn:aws:iam::123456789012:role/models"
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/iris@sha256:" + "ab" * 32


def test_the_image_keeps_the_contract(bundle: Path, tmp_path: Path) -> None:
    """`IMAGE serve`, /ping within two seconds, sockets within a quarter, CSV and JSON at /invocations, an end at SIGTERM."""
    from tests.remotes.servers import free_port

    port = free_port()
    program = ("/usr/bin/python3.11", "-m", "aweigh", "serve")
    environment = {"PORT": "", "SAGEMAKER_BIND_TO_PORT": str(port)}
    with run_container(bundle, tmp_path, command=program, environment=environment, port=port, ready="/ping") as started:
        began = time.monotonic()
        assert started.get("/ping") == (200, b"")
        assert time.monotonic() - began < 2
        socket.create_connection(("127.0.0.1", port), timeout=0.25).close()
        row = b"5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\n"
        status, text = ask(port, "POST", "/invocations", row, content_type="text/csv", accept="text/csv")
        assert (status, [line.partition(",")[0] for line in text.splitlines()]) == (200, ["0", "2"])
        status, said = ask(port, "POST", "/invocations", [[5.1, 3.5, 1.4, 0.2]], X_Amzn_SageMaker_Custom_Attributes="a=b")
        assert (status, said["predictions"][0]["label"]) == (200, 0)
        assert started.stop() == 0


def test_calls_make_and_remove_an_endpoint(deploy: Deploy, undeploy: Undeploy, moto: dict[str, str], tmp_path: Path) -> None:
    first = deploy("sagemaker", tmp_path / "out", ROLE, environment=moto, image=IMAGE)
    endpoint = aws(moto, "sagemaker", "describe-endpoint", "--endpoint-name", "linear")
    config = aws(moto, "sagemaker", "describe-endpoint-config", "--endpoint-config-name", endpoint["EndpointConfigName"])
    assert config["ProductionVariants"][0]["InstanceType"] == "ml.m5.large"
    deploy("sagemaker", tmp_path / "out", ROLE, environment=moto, image=IMAGE)
    with pytest.raises(Refused, match="aws sagemaker update-endpoint"):  # which moto does not have
        deploy("sagemaker", tmp_path / "out", ROLE, "instance=ml.m5.xlarge", environment={**moto, "AWS_MAX_ATTEMPTS": "1"}, image=IMAGE)
    assert len(aws(moto, "sagemaker", "list-endpoint-configs")["EndpointConfigs"]) == 2
    assert first.deployment is not None
    assert first.deployment.address == "linear"
    undeploy("sagemaker", moto)
    assert aws(moto, "sagemaker", "list-endpoints")["Endpoints"] == []
    assert aws(moto, "sagemaker", "list-models")["Models"] == []


def test_a_batch_transform_is_asked_for_each_time(deploy: Deploy, undeploy: Undeploy, moto: dict[str, str], tmp_path: Path) -> None:
    places = ("mode=batch", "input=s3://rows/new", "output=s3://rows/answers")
    names = []
    for _ in range(2):
        done = deploy("sagemaker", tmp_path / "out", ROLE, *places, environment=moto, image=IMAGE)
        assert done.deployment is not None
        names.append(done.deployment.facts["transform"])
    for name in names:
        job = aws(moto, "sagemaker", "describe-transform-job", "--transform-job-name", name)
        assert job["TransformInput"]["SplitType"] == "Line"
        assert job["TransformOutput"]["AssembleWith"] == "Line"
    assert len(set(names)) == 2
    undeploy("sagemaker", moto)
    assert aws(moto, "sagemaker", "list-models")["Models"] == []

"""Vertex AI: the image by its container contract under runc, at the paths and the port that Vertex names."""

from pathlib import Path

import pytest
import yaml
from tests.e2e.clouds.conftest import Deploy, ask
from tests.images import run_container

pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.timeout(400)]
IMAGE = "europe-west1-docker.pkg.dev/team/models/iris@sha256:" + "ab" * 32


def test_the_image_keeps_the_contract(deploy: Deploy, bundle: Path, tmp_path: Path) -> None:
    from tests.remotes.servers import free_port

    assert deploy("vertex", tmp_path / "out", "region=europe-west1", image=IMAGE).findings == []
    model = yaml.safe_load((tmp_path / "out/model.yaml").read_bytes())
    health, predict = model["--container-health-route"], model["--container-predict-route"]
    port = free_port()
    named = {"PORT": "", "AIP_HTTP_PORT": str(port), "AIP_HEALTH_ROUTE": health, "AIP_PREDICT_ROUTE": predict, "AIP_MODE": "PREDICTION"}
    environment = {**model["--container-env-vars"], **named, "AWEIGH_HOST": "127.0.0.1"}
    with run_container(bundle, tmp_path / "run", environment=environment, port=port, ready=health) as started:
        instances = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
        status, said = ask(port, "POST", predict, {"instances": instances, "parameters": {}})
        assert (status, [row["label"] for row in said["predictions"]]) == (200, [0, 2])
        assert ask(port, "POST", predict, {"rows": instances})[0] == 400
        assert started.stop() == 0

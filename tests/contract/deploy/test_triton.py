"""A model repository for Triton: read by Triton's own configuration message, packed again, and answering as before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tests.deploying.packages import ROWS, deploy
from tritonclient.grpc import model_config_pb2

import aweigh
from aweigh.core.errors import Conflict, InvalidInput, Unsupported


def config(folder: Path, name: str) -> Any:
    return text_format.Parse((folder / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_the_configuration_is_tritons_own(home: Path, tmp_path: Path) -> None:
    done = deploy(home, "linear", "triton", tmp_path / "out", load=20000, set=("queue_delay_us=500", "max_batch_size=16"))
    assert not done.findings
    said = config(tmp_path / "out", "linear")
    assert (said.name, said.backend, said.max_batch_size) == ("linear", "onnxruntime", 16)
    assert (said.input[0].name, said.input[0].data_type, list(said.input[0].dims)) == ("x", model_config_pb2.TYPE_FP32, [4])
    assert (said.output[0].name, list(said.output[0].dims)) == ("y", [3])
    assert said.dynamic_batching.max_queue_delay_microseconds == 500
    assert said.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    assert said.instance_group[0].count == done.capacity.cores(20000) > 1
    assert said.parameters["intra_op_thread_count"].string_value == "1"


def test_what_is_not_proven_to_stand_batches_is_not_batched(home: Path, tmp_path: Path) -> None:
    deploy(home, "mean", "triton", tmp_path / "mean")
    assert not config(tmp_path / "mean", "mean").HasField("dynamic_batching")
    deploy(home, "fixed", "triton", tmp_path / "fixed")
    said = config(tmp_path / "fixed", "fixed")
    assert (said.max_batch_size, list(said.input[0].dims)) == (0, [2, 4])


@pytest.mark.slow
def test_what_was_rendered_is_packed_again_and_answers_alike(home: Path, tmp_path: Path) -> None:
    deploy(home, "linear", "triton", tmp_path / "out")
    package = aweigh.pack(tmp_path / "out", "again", home=str(tmp_path / "home"), sample=str(home / "rows.npy"))
    assert package.manifest.provenance.source_layout == "Triton model, version 1: model.onnx"
    answers = []
    for name, where in (("linear", home), ("again", tmp_path / "home")):
        with aweigh.load(name, home=str(where)) as model:
            answers.append(model.infer({"x": ROWS})["y"])
    np.testing.assert_array_equal(*answers)


CHANGES = [
    ("linear/config.pbtxt", 'name: "linear"', 'name: "other"', "the folder is 'linear'"),
    ("linear/config.pbtxt", 'backend: "onnxruntime"', 'backend: "', "no text of protobuf"),
    ("linear/config.pbtxt", "dims: 4", "dims: 0", "sizes are -1 or 1 and more"),
    ("linear/config.pbtxt", "max_batch_size: 64", "max_batch_size: 0", "needs a max_batch_size"),
]


@pytest.mark.parametrize(("file", "before", "after", "said"), CHANGES)
def test_what_triton_would_refuse_is_found(home: Path, tmp_path: Path, file: str, before: str, after: str, said: str) -> None:
    from aweigh.app.deploy import DeployOptions, _job, _target  # the job that deploying makes
    from aweigh.app.models import open_model
    from aweigh.core.protocols import quiet
    from aweigh.core.settings import Settings

    deploy(home, "linear", "triton", tmp_path / "out")
    place = tmp_path / "out" / file
    assert before in place.read_text()
    place.write_text(place.read_text().replace(before, after))
    settings, target = Settings(home=str(home)), _target("triton")
    job = _job(settings, open_model(settings, "linear"), target, DeployOptions(target="triton"), quiet)
    assert any(said in finding.message for finding in target.check(tmp_path / "out", job))


def test_it_is_put_where_the_server_reads_and_taken_away_again(home: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    from aweigh.app.deploy import undeploy_package
    from aweigh.core.settings import Settings

    with pytest.raises(InvalidInput, match="repository is empty"):
        deploy(home, "linear", "triton", tmp_path / "out", apply=True)
    for _ in range(2):
        done = deploy(home, "linear", "triton", tmp_path / "out", apply=True, set=(f"repository={repository}",))
    assert done.deployment is not None
    assert {each.name for each in (repository / "linear").iterdir()} == {"1", "config.pbtxt"}
    (repository / "linear" / "1" / "model.onnx").write_bytes(b"mine")
    with pytest.raises(Conflict, match="holds something else"):
        deploy(home, "linear", "triton", tmp_path / "out", apply=True, set=(f"repository={repository}",))
    with pytest.raises(Conflict, match="not what was deployed"):
        undeploy_package(Settings(home=str(home)), "linear")
    (repository / "linear" / "1" / "model.onnx").write_bytes((tmp_path / "out" / "linear" / "1" / "model.onnx").read_bytes())
    undeploy_package(Settings(home=str(home)), "linear")
    assert not any(repository.iterdir())


@pytest.mark.parametrize("option", ["release=25.02-py3; id", "release=$(id)", "max_batch_size=0", "queue_delay_us=-1", "instances=99999"])
def test_values_that_cannot_be_are_refused(home: Path, tmp_path: Path, option: str) -> None:
    with pytest.raises(Unsupported):
        deploy(home, "linear", "triton", tmp_path / "out", set=(option,))

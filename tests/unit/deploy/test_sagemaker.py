"""What is rendered for SageMaker: AWS's own service model takes it, names follow what is said, every mistake is caught."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.deploy.jobs import job, render, target

from aweigh.core.errors import InvalidInput
from aweigh.deploy.target import Rendered
from aweigh.deploy.targets.sagemaker import check_documents

KIND = "sagemaker"
ROLE = {"role": "arn:aws:iam::123456789012:role/models"}
BATCH = {"mode": "batch", "input": "s3://rows/new", "output": "s3://rows/answers"}
CALLS = {
    "model.json": "CreateModel", "endpoint-config.json": "CreateEndpointConfig", "endpoint.json": "CreateEndpoint", "transform-job.json": "CreateTransformJob",
}  # fmt: skip


def rendered(folder: Path, **options: str) -> Rendered:
    one = job(folder, KIND, set_={**ROLE, **options})
    done = render(folder / "out", KIND, one)
    assert target(KIND).check(folder / "out", one) == []
    return done


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / "out" / name).read_bytes())


@pytest.mark.parametrize("options", [{}, {"mode": "serverless"}, BATCH], ids=["real-time", "serverless", "batch"])
def test_the_services_own_model_takes_the_documents(tmp_path: Path, options: dict[str, str]) -> None:
    loaders, model, validate = (importlib.import_module(f"botocore.{name}") for name in ("loaders", "model", "validate"))  # of moto's
    service = model.ServiceModel(loaders.Loader().load_service_model("sagemaker", "service-2"))
    done = rendered(tmp_path, **options)
    for name in done.files:
        shape = service.operation_model(CALLS[name]).input_shape
        report = validate.ParamValidator().validate(read(tmp_path, name), shape)
        assert not report.has_errors(), report.generate_report()
    assert ("USD for each hour that it runs" if options is BATCH else "USD a month") in done.costs[0]


def test_names_follow_what_is_said(tmp_path: Path) -> None:
    rendered(tmp_path)
    before = read(tmp_path, "endpoint-config.json")["EndpointConfigName"]
    rendered(tmp_path)
    assert read(tmp_path, "endpoint-config.json")["EndpointConfigName"] == before
    rendered(tmp_path, instance="ml.m5.xlarge")
    assert read(tmp_path, "endpoint-config.json")["EndpointConfigName"] != before
    assert read(tmp_path, "endpoint.json")["EndpointName"] == "fraud"


def test_a_serverless_endpoint_has_a_size_that_there_is(tmp_path: Path) -> None:
    rendered(tmp_path, mode="serverless", concurrency="9")
    variant = read(tmp_path, "endpoint-config.json")["ProductionVariants"][0]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 1024, "MaxConcurrency": 9}
    assert "InstanceType" not in variant


def test_what_it_costs_is_of_what_is_rendered(tmp_path: Path) -> None:
    """Two machines of 0.461 for 730 hours; one that the table lacks; a transform by its hours; 1024 of 1769 MiB take a request 0.5 ms x 1.73."""
    assert "673.06 USD a month" in rendered(tmp_path, instance="ml.m5.2xlarge").costs[0]
    assert rendered(tmp_path, instance="ml.p4d.24xlarge").costs == (
        "what 2 x ml.p4d.24xlarge cost is not in the table of prices: look at the vendor's own",
    )
    batch = rendered(tmp_path, **BATCH, instance="ml.m5.2xlarge").costs
    assert batch[0] == "about 0.92 USD for each hour that it runs: 2 x ml.m5.2xlarge x 0.461"
    assert not any("a month" in line for line in batch)
    assert rendered(tmp_path, mode="serverless").costs[1].startswith("memory while answering: 1,000 GiB-s")


@pytest.mark.parametrize(
    "options",
    [{"role": "x"}, {"role": ""}, {"instance": "m5; reboot"}, {"mode": "batch"}, {**BATCH, "input": "s3://Rows; x"}, {"region": "nowhere"}],
)
def test_what_stands_in_calls_is_looked_at(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        target(KIND).render(job(tmp_path, KIND, set_={**ROLE, **options}))


CHANGES: dict[str, tuple[str, str, str, str]] = {
    "typo": ("endpoint-config.json", "InstanceType", "InstanceTyp", "InstanceTyp"),
    "name": ("model.json", '"ModelName": "fraud', '"ModelName": "fraud!', "ModelName"),
    "other model": ("model.json", '"ModelName": "fraud-', '"ModelName": "other-', "asks for the model"),
    "other configuration": ("endpoint.json", '"EndpointConfigName": "fraud-', '"EndpointConfigName": "other-', "does not make"),
    "variable": ("model.json", '"AWEIGH_HOST"', '"AWEIGH-HOST"', "Environment"),
    "no instance": ("endpoint-config.json", '"ml.m5.large"', '""', "must have an instance, or be serverless"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "before", "after", "said"), CHANGES.values(), ids=CHANGES)
def test_mistakes_are_caught(tmp_path: Path, name: str, before: str, after: str, said: str) -> None:
    files = {each: bytes(data) for each, data in rendered(tmp_path).files.items()}  # type: ignore[arg-type]  # no paths
    assert before.encode() in files[name]
    found = check_documents({**files, name: files[name].replace(before.encode(), after.encode())})
    assert any(said in each.message for each in found), found

"""Target `sagemaker`: a model of Amazon SageMaker from an image, behind a real-time or serverless endpoint, or as a batch transform.

The files are what `aws sagemaker create-…` takes. Models and configurations never change there: their names end in a digest of what they say.
A transform runs once under a name: the time is put behind it where it is started.
"""

import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from aweigh.core.errors import InvalidInput
from aweigh.deploy.aws import FULL_CORE_MIB, Aws, checked
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import Container, container_of
from aweigh.deploy.prices import cost_lines, machine_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered, Scale

_MODEL: Final = "model.json"
_CONFIG: Final = "endpoint-config.json"
_ENDPOINT: Final = "endpoint.json"
_TRANSFORM: Final = "transform-job.json"
_VARIANT: Final = "main"
_PLACE: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[A-Za-z0-9!_.*'()/-]{0,900})?", re.ASCII)
_INSTANCE: Final = re.compile(r"ml\.[a-z0-9-]{1,12}\.[a-z0-9]{1,12}", re.ASCII)
_SERVERLESS_MIB: Final = (1024, 2048, 3072, 4096, 5120, 6144)
_ROOM_MIB: Final = 256
"""What SageMaker's own side of a serverless container takes."""


class SageMakerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    role: str
    """Address of the role by which SageMaker pulls the image, reads and writes S3, and logs."""
    mode: Literal["real-time", "serverless", "batch"] = "real-time"
    region: str = ""
    """Empty: the one that `aws` is configured with."""
    instance: str = "ml.m5.large"
    """Of real-time endpoints and batch transforms."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=200)] = 5
    """Most requests at once of a serverless endpoint."""
    input: str = ""
    """Of a batch transform: rows of CSV without a header, in S3; `output` is where its answers go."""
    output: str = ""


class SageMaker:
    """The target."""

    name: ClassVar[str] = "sagemaker"
    options: ClassVar[type[msgspec.Struct]] = SageMakerOptions
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGE})

    def render(self, job: DeployJob) -> Rendered:
        options = _options(job)
        _check_options(options)
        documents = _documents(job, options)
        region = f" --region {options.region}" if options.region else ""
        made = {_MODEL: "create-model", _CONFIG: "create-endpoint-config", _ENDPOINT: "create-endpoint", _TRANSFORM: "create-transform-job"}
        again = {_TRANSFORM: f" --transform-job-name {job.name}-$(date +%s)"}
        commands = [f"aws sagemaker {made[name]} --cli-input-json file://{name}{again.get(name, '')}{region}" for name in documents]
        return Rendered(
            files={name: json.dumps(document, indent=2).encode() + b"\n" for name, document in documents.items()},
            does=_does(job, options),
            costs=_costs(job, options),
            commands=commands,
            notes=["the image must lie in a registry of AWS (ECR) that the role may read"],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        return check_documents({path.name: path.read_bytes() for path in sorted(folder.glob("*.json")) if path.name in _READ})

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        documents = {path.name: json.loads(path.read_bytes()) for path in folder.glob("*.json") if path.name in _READ}
        facts = {"region": _options(job).region, "model": str(documents[_MODEL]["ModelName"])}
        if _TRANSFORM in documents:
            return {**facts, "transform": f"{documents[_TRANSFORM]['TransformJobName']}-{int(time.time())}"}
        config, endpoint = documents[_CONFIG]["EndpointConfigName"], documents[_ENDPOINT]["EndpointName"]
        return {**facts, "config": str(config), "endpoint": str(endpoint)}

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options = _options(job)
        aws = Aws(commands, options.region)
        documents = {path.name: json.loads(path.read_bytes()) for path in folder.glob("*.json") if path.name in _READ}
        model = documents[_MODEL]
        facts = {"region": options.region, "model": str(model["ModelName"])}
        if aws.find("sagemaker", "describe-model", "--model-name", facts["model"]) is None:
            aws.patiently("sagemaker", "create-model", given=model)
        if _TRANSFORM in documents:
            started = f"{documents[_TRANSFORM]['TransformJobName']}-{int(time.time())}"
            aws.call("sagemaker", "create-transform-job", given={**documents[_TRANSFORM], "TransformJobName": started})
            return Applied(facts={**facts, "transform": started}, address=options.output)
        facts["config"] = str(documents[_CONFIG]["EndpointConfigName"])
        if aws.find("sagemaker", "describe-endpoint-config", "--endpoint-config-name", facts["config"]) is None:
            aws.call("sagemaker", "create-endpoint-config", given=documents[_CONFIG])
        facts["endpoint"] = str(documents[_ENDPOINT]["EndpointName"])
        there = aws.find("sagemaker", "describe-endpoint", "--endpoint-name", facts["endpoint"])
        given = {key: value for key, value in documents[_ENDPOINT].items() if there is None or key != "Tags"}
        if there is None or there.get("EndpointConfigName") != facts["config"]:
            aws.call("sagemaker", "update-endpoint" if there else "create-endpoint", given=given)
        return Applied(facts=facts, address=facts["endpoint"])

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        aws = Aws(commands, facts.get("region", ""))
        if "endpoint" in facts:
            aws.remove("sagemaker", "delete-endpoint", "--endpoint-name", facts["endpoint"])
            aws.remove("sagemaker", "delete-endpoint-config", "--endpoint-config-name", facts["config"])
        if "transform" in facts:
            for each in _running(aws, facts["transform"]):
                aws.remove("sagemaker", "stop-transform-job", "--transform-job-name", each)
        aws.remove("sagemaker", "delete-model", "--model-name", facts["model"])


def _options(job: DeployJob) -> SageMakerOptions:
    return job.options if isinstance(job.options, SageMakerOptions) else SageMakerOptions(role="")


def _check_options(options: SageMakerOptions) -> None:
    """Raises InvalidInput, naming the option."""
    checked(region=options.region, role=options.role)
    if not options.role:
        raise InvalidInput("SageMaker needs a role to run as", hint="say --set role=arn:aws:iam::123456789012:role/NAME")
    if not _INSTANCE.fullmatch(options.instance):
        raise InvalidInput(f"{options.instance[:80]!r} is no instance of SageMaker", hint="write it as ml.m5.large")
    for name, place in (("input", options.input), ("output", options.output)):
        if options.mode == "batch" and not _PLACE.fullmatch(place):
            raise InvalidInput(
                f"{name} is {place[:80]!r}: a batch transform needs a place in S3", hint=f"say --set {name}=s3://BUCKET/FOLDER"
            )


def _documents(job: DeployJob, options: SageMakerOptions) -> dict[str, dict[str, Any]]:
    """In the order in which they are made."""
    container = container_of(job)
    environment = {name: value for name, value in container.environment.items() if name != "PORT"}
    tags = [{"Key": "aweigh:model", "Value": container.model}, {"Key": "aweigh:digest", "Value": str(container.digest)}]
    image = {"Image": container.image, "Environment": environment}
    said = {"PrimaryContainer": image, "ExecutionRoleArn": options.role, "Tags": tags}
    model: dict[str, Any] = {"ModelName": _named(job.name, said), **said}
    if options.mode == "batch":
        return {_MODEL: model, _TRANSFORM: _transform(job, options, str(model["ModelName"]))}
    variant: dict[str, Any] = {"VariantName": _VARIANT, "ModelName": model["ModelName"], "InitialVariantWeight": 1}
    if options.mode == "serverless":
        variant["ServerlessConfig"] = {"MemorySizeInMB": _serverless_mib(container), "MaxConcurrency": options.concurrency}
    else:
        variant |= {
            "InstanceType": options.instance,
            "InitialInstanceCount": max(1, job.scale.least),
            "ContainerStartupHealthCheckTimeoutInSeconds": min(3600, container.start_limit_s),
        }
    served = {"ProductionVariants": [variant], "Tags": tags}
    config: dict[str, Any] = {"EndpointConfigName": _named(job.name, served), **served}
    endpoint = {"EndpointName": job.name, "EndpointConfigName": config["EndpointConfigName"], "Tags": tags}
    return {_MODEL: model, _CONFIG: config, _ENDPOINT: endpoint}


def _transform(job: DeployJob, options: SageMakerOptions, model: str) -> dict[str, Any]:
    """Rows of CSV, several a request, one line of answers for each."""
    told = {
        "ModelName": model,
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": 6,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": options.input}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        "TransformOutput": {"S3OutputPath": options.output, "Accept": "text/csv", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": options.instance, "InstanceCount": max(1, job.scale.least)},
    }
    return {"TransformJobName": job.name, **told}


def _running(aws: Aws, started: str) -> list[str]:
    """The jobs that were started under the name of one, and have not ended: each application starts one, and each is paid for."""
    name = started.rpartition("-")[0]
    words = ("--name-contains", f"{name}-", "--status-equals", "InProgress")
    listed = (aws.find("sagemaker", "list-transform-jobs", *words) or {}).get("TransformJobSummaries", ())
    names = [str(each.get("TransformJobName", "")) for each in listed]
    return [each for each in names if re.fullmatch(re.escape(name) + "-[0-9]{10}", each)]


def _named(name: str, document: Mapping[str, Any]) -> str:
    """The deployment's name with a digest of what is said: the same is not made twice, and what differs has another name."""
    return f"{name[:52]}-{hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:8]}"


def _serverless_mib(container: Container) -> int:
    wanted = container.memory_mib + _ROOM_MIB
    return next((size for size in _SERVERLESS_MIB if size >= wanted), _SERVERLESS_MIB[-1])


def _costs(job: DeployJob, options: SageMakerOptions) -> tuple[str, ...]:
    if options.mode != "serverless":
        return machine_lines("sagemaker", options.instance, max(1, job.scale.least), all_month=options.mode != "batch")
    memory_mib = _serverless_mib(container_of(job))  # its share of a processor is not told: taken as Lambda's
    none = dataclasses.replace(job, scale=Scale(least=0))
    return cost_lines("sagemaker", none, cores=memory_mib / FULL_CORE_MIB, memory_mib=memory_mib, mode="serverless")


def _does(job: DeployJob, options: SageMakerOptions) -> list[str]:
    count = max(1, job.scale.least)
    if options.mode == "batch":
        return [f"a batch transform of {options.input} on {count} x {options.instance}, its answers in {options.output}"]
    if options.mode == "serverless":
        return [f"a serverless endpoint '{job.name}', {options.concurrency} requests at once at the most", "none runs while nobody asks"]
    return [f"an endpoint '{job.name}' of {count} x {options.instance}, which runs and is paid for until it is undeployed"]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """Of a document in which an unknown field is a mistake."""


_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9](-*[A-Za-z0-9]){0,62}$")]


class _Tag(_Strict):
    Key: str
    Value: str


class _Image(_Strict):
    Image: str
    Environment: dict[Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")], Annotated[str, msgspec.Meta(max_length=1024)]]


class _Model(_Strict):
    ModelName: _Name
    PrimaryContainer: _Image
    ExecutionRoleArn: str
    Tags: list[_Tag]


class _Serverless(_Strict):
    MemorySizeInMB: Literal[1024, 2048, 3072, 4096, 5120, 6144]
    MaxConcurrency: Annotated[int, msgspec.Meta(ge=1, le=200)]


class _ProductionVariant(_Strict, kw_only=True):
    VariantName: _Name
    ModelName: _Name
    InitialVariantWeight: float
    ServerlessConfig: _Serverless | None = None
    InstanceType: str = ""
    InitialInstanceCount: Annotated[int, msgspec.Meta(ge=1)] = 1
    ContainerStartupHealthCheckTimeoutInSeconds: Annotated[int, msgspec.Meta(ge=60, le=3600)] = 60


class _Config(_Strict):
    EndpointConfigName: _Name
    ProductionVariants: Annotated[list[_ProductionVariant], msgspec.Meta(min_length=1)]
    Tags: list[_Tag]


class _Endpoint(_Strict):
    EndpointName: _Name
    EndpointConfigName: _Name
    Tags: list[_Tag]


class _TransformJob(msgspec.Struct):
    TransformJobName: _Name
    ModelName: _Name


_READ: Final[dict[str, type[Any]]] = {_MODEL: _Model, _CONFIG: _Config, _ENDPOINT: _Endpoint, _TRANSFORM: _TransformJob}


def check_documents(files: Mapping[str, bytes]) -> list[Finding]:
    """Read the documents strictly, and see that each names the one before it."""
    read: dict[str, Any] = {}
    found = []
    for name, data in files.items():
        try:
            read[name] = msgspec.json.decode(data, type=_READ[name])
        except msgspec.DecodeError as error:
            found.append(Finding(place=name, message=str(error), hint="mend it, or render it again with --force"))
    model, config = read.get(_MODEL), read.get(_CONFIG)
    named = [(_CONFIG, each.ModelName) for each in config.ProductionVariants] if config else []
    named += [(_TRANSFORM, read[_TRANSFORM].ModelName)] if _TRANSFORM in read else []
    if model is not None:
        found += [
            Finding(place=place, message=f"asks for the model {name!r}; {_MODEL} makes {model.ModelName!r}")
            for place, name in named
            if name != model.ModelName
        ]
    for each in config.ProductionVariants if config else ():
        if bool(each.InstanceType) == (each.ServerlessConfig is not None):
            found.append(Finding(place=_CONFIG, message=f"variant {each.VariantName!r} must have an instance, or be serverless"))
    if config and _ENDPOINT in read and read[_ENDPOINT].EndpointConfigName != config.EndpointConfigName:
        found.append(Finding(place=_ENDPOINT, message=f"asks for {read[_ENDPOINT].EndpointConfigName!r}, which {_CONFIG} does not make"))
    return found

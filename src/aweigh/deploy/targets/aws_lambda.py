"""Target `lambda`: an AWS Lambda function, as an archive for AWS's own Python (the runner, no server) or as an image.

`template.yaml` is what SAM takes, `function.json` what `aws lambda create-function` takes: the same function twice, for either client.
"""

import dataclasses
import io
import json
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.deploy.aws import FULL_CORE_MIB, Aws, checked
from aweigh.deploy.bundle import runner_bundle
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import image_address
from aweigh.deploy.elf import glibc_of, is_elf, machine_of
from aweigh.deploy.platforms import Platform, WheelTarget
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered, Scale
from aweigh.deploy.yaml_text import read_yaml, yaml_text
from aweigh.deploy.zipped import zipped

MIB: Final = 1024 * 1024
_MAX_ZIP: Final = 50 * MIB
_MAX_UNZIPPED: Final = 250 * MIB
_GLIBC: Final = {"python3.11": (2, 26), "python3.12": (2, 34), "python3.13": (2, 34), "python3.14": (2, 34)}
"""Of Amazon Linux 2 and of Amazon Linux 2023, on which AWS runs its Pythons."""
_PLATFORMS: Final = {"x86_64": "amd64", "arm64": "arm64"}
_MACHINES: Final = {"x86_64": "x86_64", "arm64": "aarch64"}
_POLICY: Final = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
_ALIAS: Final = "live"
_ANYBODY: Final[Mapping[str, tuple[str, ...]]] = {
    "anybody": ("--action", "lambda:InvokeFunctionUrl", "--principal", "*", "--function-url-auth-type", "NONE"),
    "anybody-by-url": ("--action", "lambda:InvokeFunction", "--principal", "*", "--invoked-via-function-url"),
}
"""What lets anybody ask at the address and nowhere else, by statement: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"""
_ECR: Final = re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/", re.ASCII)
_LEAST_MIB: Final = 128
_ZIP: Final = "function.zip"
_TEMPLATE: Final = "template.yaml"
_FUNCTION: Final = "function.json"
_CONFIGURATION: Final = ("FunctionName", "Description", "Runtime", "Handler", "MemorySize", "Timeout", "Environment")


class LambdaOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    package: Literal["zip", "image"] = "zip"
    region: str = ""
    """Empty: the one that `aws` is configured with."""
    runtime: Literal["python3.11", "python3.12", "python3.13", "python3.14"] = "python3.12"
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    memory_mib: Annotated[int, msgspec.Meta(ge=0, le=10240)] = 0
    """0: what the model takes, half a gibibyte at least: processors come with memory."""
    timeout_s: Annotated[int, msgspec.Meta(ge=1, le=900)] = 30
    role: str = ""
    """Empty: one that may write logs and nothing else is made."""
    bucket: str = ""
    """Of S3, through which archives of more than 50 MB go."""
    url: Literal["iam", "none", "off"] = "iam"
    """Who may call its address: whoever AWS lets, anybody, or there is none."""
    provisioned: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    """Instances that are kept ready, and paid for, all the time."""


class Lambda:
    """The target."""

    name: ClassVar[str] = "lambda"
    options: ClassVar[type[msgspec.Struct]] = LambdaOptions
    needs: ClassVar[frozenset[Need]] = frozenset()

    def render(self, job: DeployJob) -> Rendered:
        options = _options(job)
        checked(region=options.region, role=options.role, bucket=options.bucket)
        if 0 < options.memory_mib < _LEAST_MIB:
            raise InvalidInput(
                f"a function has {_LEAST_MIB} MB at least, not {options.memory_mib}", hint="say --set memory_mib=512, or leave it out"
            )
        memory_mib = _memory(job, options)
        files: dict[str, bytes | Path] = {}
        notes = [f"{memory_mib} MB of memory come with {memory_mib / FULL_CORE_MIB:.2f} of a processor"]
        if options.package == "zip":
            files[_ZIP], unzipped = _archive(job, options)
            notes.append(
                f"the archive has {len(files[_ZIP]) / MIB:.1f} MB of 50, {unzipped / MIB:.1f} MB of 250 unpacked"  # type: ignore[arg-type]  # bytes
            )
        elif not job.image:
            raise InvalidInput(
                "a function from an image needs the address of one, in a registry of AWS",
                hint=f"make and send one: 'aweigh image {job.package.reference} --runner --to ADDRESS', then give --image ADDRESS@DIGEST",
            )
        function = _function(job, options, memory_mib)
        files[_FUNCTION] = json.dumps(function, indent=2).encode() + b"\n"
        said = (f"{job.package.reference} as an AWS Lambda function. Made by `aweigh deploy`.", "sam deploy --template-file template.yaml")
        files[_TEMPLATE] = yaml_text(_template(job, options, function), said=said)
        return Rendered(
            files=files,
            does=_does(job, options),
            costs=cost_lines(
                "lambda",
                dataclasses.replace(job, scale=Scale(least=options.provisioned)),
                cores=memory_mib / FULL_CORE_MIB,
                memory_mib=memory_mib,
                mode="arm64" if options.architecture == "arm64" else "",
            ),
            commands=_commands(job, options),
            notes=notes,
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        options = _options(job)
        found = []
        template = read_yaml((folder / _TEMPLATE).read_bytes(), place=_TEMPLATE)
        function = json.loads((folder / _FUNCTION).read_bytes())
        properties = template[0]["Resources"]["Function"]["Properties"] if template else {}
        for name in ("FunctionName", "MemorySize", "Timeout", "Runtime", "Handler", "Architectures"):
            if properties.get(name) != function.get(name):
                message = f"{name} is {properties.get(name)!r}, in {_FUNCTION} {function.get(name)!r}"
                found.append(Finding(place=f"{_TEMPLATE}: $.Resources.Function.Properties.{name}", message=message))
        if options.package == "zip":
            found += check_archive((folder / _ZIP).read_bytes(), options)
        else:
            found += _check_registry(job.image, options.region)
        return found

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        options = _options(job)
        name = str(json.loads((folder / _FUNCTION).read_bytes())["FunctionName"])
        return {"region": options.region, "function": name, "role": "" if options.role else _role(name)}

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options = _options(job)
        aws = Aws(commands, options.region)
        function = json.loads((folder / _FUNCTION).read_bytes())
        name = str(function["FunctionName"])
        role, made = aws.role(_role(name), "lambda.amazonaws.com", _POLICY, options.role)
        code = _code(aws, folder, job, options)
        if aws.find("lambda", "get-function", "--function-name", name) is None:
            aws.patiently("lambda", "create-function", *code.words, given={**function, "Role": role, **code.given})
            aws.call("lambda", "wait", "function-active-v2", "--function-name", name)
        else:
            there = {"FunctionName": name, "Architectures": function["Architectures"], **code.given.get("Code", {})}
            aws.call("lambda", "update-function-code", *code.words, given=there)
            aws.call("lambda", "wait", "function-updated-v2", "--function-name", name)
            configuration = {key: function[key] for key in _CONFIGURATION if key in function}
            aws.call("lambda", "update-function-configuration", given={**configuration, "Role": role})
            aws.call("lambda", "wait", "function-updated-v2", "--function-name", name)
        version = str(aws.call("lambda", "publish-version", "--function-name", name).get("Version", "$LATEST"))
        _point_alias(aws, name, version)
        _keep_ready(aws, name, options.provisioned)
        facts = {"region": options.region, "function": name, "role": made, "version": version}
        return Applied(facts=facts, address=_url(aws, name, options.url))

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        aws = Aws(commands, facts.get("region", ""))
        aws.remove("lambda", "delete-function-url-config", "--function-name", facts["function"], "--qualifier", _ALIAS)
        aws.remove("lambda", "delete-function", "--function-name", facts["function"])
        aws.drop_role(facts.get("role", ""), _POLICY)


def _role(function: str) -> str:
    """Of the role that is made where none was said."""
    return f"{function}-lambda"


def _check_registry(image: str, region: str) -> list[Finding]:
    """A function takes images from AWS's own registry alone, of its region: https://docs.aws.amazon.com/lambda/latest/dg/images-create.html"""
    host = _ECR.match(image)
    if host is None:
        message = f"the image lies at {image.partition('/')[0]}: a function takes it from ACCOUNT.dkr.ecr.REGION.amazonaws.com alone"
        return [Finding(place=_FUNCTION, message=message, hint="send it there with `aweigh image … --to` and give that address as --image")]
    if region and host["region"] != region:
        message = f"the image lies in {host['region']}, and the function in {region}"
        return [Finding(place=_FUNCTION, message=message, hint="send it to the registry of the function's region")]
    return []


def check_archive(data: bytes, options: LambdaOptions) -> list[Finding]:
    """Read the archive as Lambda would unpack it: its sizes, its entry, and whether its libraries can be loaded where it runs."""
    found = []
    if len(data) > _MAX_ZIP and not options.bucket:
        hint = "say --set bucket=NAME, use `sam deploy`, or --set package=image"
        found.append(Finding(place=_ZIP, message=f"{len(data) / MIB:.1f} MB cannot be sent directly: 50 MB is the most", hint=hint))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        unzipped = sum(entry.file_size for entry in entries)
        if unzipped > _MAX_UNZIPPED:
            found.append(Finding(place=_ZIP, message=_too_large(unzipped), hint="say --set package=image: images may have 10 GB"))
        if "run.py" not in archive.namelist():
            found.append(Finding(place=_ZIP, message="run.py is missing, which holds the handler", hint="render it again with --force"))
        for entry in entries:
            content = archive.read(entry) if ".so" in entry.filename else b""
            if is_elf(content):
                found += _library(entry.filename, content, options)
    return found


def _library(name: str, content: bytes, options: LambdaOptions) -> list[Finding]:
    found = []
    machine, wanted = machine_of(content), _MACHINES[options.architecture]
    if machine != wanted:
        found.append(Finding(place=f"{_ZIP}: {name}", message=f"is for {machine}, the function for {wanted}", hint="render it again"))
    needs, has = glibc_of(content), _GLIBC[options.runtime]
    if needs > has:
        message = f"needs glibc {needs[0]}.{needs[1]}; {options.runtime} of Lambda has {has[0]}.{has[1]}"
        found.append(Finding(place=f"{_ZIP}: {name}", message=message, hint="say --set runtime=python3.12"))
    return found


def _options(job: DeployJob) -> LambdaOptions:
    options = job.options
    return options if isinstance(options, LambdaOptions) else LambdaOptions()


def _memory(job: DeployJob, options: LambdaOptions) -> int:
    return options.memory_mib or min(10240, max(512, math.ceil(1.25 * job.capacity.memory_mib / 64) * 64))


def _archive(job: DeployJob, options: LambdaOptions) -> tuple[bytes, int]:
    """The archive, and what it takes unpacked. Raises Unsupported for what the machine that unpacks it cannot load or hold."""
    platform = Platform(architecture=_PLATFORMS[options.architecture])
    target = WheelTarget(platform=platform, python=(3, int(options.runtime.rpartition(".")[2])), glibc=_GLIBC[options.runtime])
    files = runner_bundle(job.package, job.variant, target, cache=job.cache, progress=job.progress)
    unzipped = sum(len(content) if isinstance(content, bytes) else content.stat().st_size for content in files.values())
    if unzipped > _MAX_UNZIPPED:
        raise Unsupported(_too_large(unzipped), hint="say --set package=image: images may have 10 GB")
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.read_bytes()
        if ".so" in name and is_elf(data):
            for finding in _library(name, data, options):
                raise Unsupported(f"{name} {finding.message}", hint=finding.hint)
    return zipped(files), unzipped


def _too_large(size: int) -> str:
    return f"{size / MIB:.0f} MB unpacked: a function from an archive may have 250 MB"


def _function(job: DeployJob, options: LambdaOptions, memory_mib: int) -> dict[str, Any]:
    """What `create-function` takes, but code and role."""
    told: dict[str, Any] = {
        "FunctionName": job.name,
        "Description": f"{job.package.reference}, made by aweigh",
        "PackageType": "Zip" if options.package == "zip" else "Image",
        "Architectures": [options.architecture],
        "MemorySize": memory_mib,
        "Timeout": options.timeout_s,
        "Environment": {"Variables": {"ORT_DISABLE_TELEMETRY": "1"}},
        "Tags": {"aweigh:model": str(job.package.reference), "aweigh:digest": str(job.package.digest)},
    }
    if options.package == "zip":
        told |= {"Runtime": options.runtime, "Handler": "run.handler"}
    return told


def _template(job: DeployJob, options: LambdaOptions, function: Mapping[str, Any]) -> dict[str, Any]:
    """The same for SAM."""
    code = {"CodeUri": _ZIP} if options.package == "zip" else {"ImageUri": image_address(job.image)}
    properties: dict[str, Any] = {**function, **code, "AutoPublishAlias": _ALIAS}
    if options.role:
        properties["Role"] = options.role
    if options.provisioned:
        properties["ProvisionedConcurrencyConfig"] = {"ProvisionedConcurrentExecutions": options.provisioned}
    template: dict[str, Any] = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Description": f"{job.package.reference}, made by aweigh",
        "Resources": {"Function": {"Type": "AWS::Serverless::Function", "Properties": properties}},
    }
    if options.url != "off":
        properties["FunctionUrlConfig"] = {"AuthType": "AWS_IAM" if options.url == "iam" else "NONE"}
        template["Outputs"] = {"Url": {"Value": {"Fn::GetAtt": ["FunctionUrl", "FunctionUrl"]}}}
    return template


def _does(job: DeployJob, options: LambdaOptions) -> list[str]:
    what = f"the runner on AWS's own {options.runtime}" if options.package == "zip" else f"the image {job.image}"
    door = {"iam": "whoever AWS lets call it", "none": "anybody", "off": "no address of its own"}[options.url]
    kept = f"{options.provisioned} instances are kept ready" if options.provisioned else "none runs while nobody asks"
    lines = [f"a function '{job.name}' on {options.architecture}: {what}", f"its address is open to {door}", kept]
    return lines if options.role else [*lines, f"a role '{job.name}-lambda' that may write logs and nothing else"]


def _commands(job: DeployJob, options: LambdaOptions) -> list[str]:
    region = f" --region {options.region}" if options.region else ""
    bucket = f" --s3-bucket {options.bucket}" if options.bucket else " --resolve-s3"
    images = " --resolve-image-repos" if options.package == "image" else ""
    return [f"sam deploy --template-file {_TEMPLATE} --stack-name {job.name}{region}{bucket}{images} --capabilities CAPABILITY_IAM"]


class _Code(msgspec.Struct, frozen=True, kw_only=True):
    words: tuple[str, ...] = ()
    given: dict[str, Any] = {}


def _code(aws: Aws, folder: Path, job: DeployJob, options: LambdaOptions) -> _Code:
    """How the code is handed over: in the call, by a bucket, or as an image's address."""
    if options.package == "image":
        return _Code(given={"Code": {"ImageUri": job.image}})
    if not options.bucket:
        return _Code(words=("--zip-file", f"fileb://{(folder / _ZIP).absolute()}"))
    key = f"aweigh/{job.name}/{str(job.package.digest).removeprefix('sha256:')[:16]}.zip"
    aws.call("s3api", "put-object", "--bucket", options.bucket, "--key", key, "--body", str((folder / _ZIP).absolute()))
    return _Code(given={"Code": {"S3Bucket": options.bucket, "S3Key": key}})


def _point_alias(aws: Aws, name: str, version: str) -> None:
    words = ("--function-name", name, "--name", _ALIAS, "--function-version", version)
    there = aws.find("lambda", "get-alias", "--function-name", name, "--name", _ALIAS)
    aws.call("lambda", "update-alias" if there is not None else "create-alias", *words)


def _keep_ready(aws: Aws, name: str, count: int) -> None:
    """As many as were asked for, whatever was kept before: none is an instruction too, for what is kept is paid for."""
    words = ("--function-name", name, "--qualifier", _ALIAS)
    if count:
        aws.call("lambda", "put-provisioned-concurrency-config", *words, "--provisioned-concurrent-executions", str(count))
    else:
        aws.remove("lambda", "delete-provisioned-concurrency-config", *words)


def _url(aws: Aws, name: str, who: str) -> str:
    """Its address, open to whom it was asked for, whatever it was before; empty where it has none."""
    words = ("--function-name", name, "--qualifier", _ALIAS)
    if who == "off":
        aws.remove("lambda", "delete-function-url-config", *words)
        _let_anybody(aws, words, wanted=False)
        return ""
    kind = "AWS_IAM" if who == "iam" else "NONE"
    there = aws.find("lambda", "get-function-url-config", *words)
    made = aws.call(
        "lambda", "update-function-url-config" if there is not None else "create-function-url-config", *words, "--auth-type", kind
    )
    _let_anybody(aws, words, wanted=who == "none")
    return str(made.get("FunctionUrl", ""))


def _let_anybody(aws: Aws, words: tuple[str, ...], *, wanted: bool) -> None:
    """Give the permissions that an address for anybody takes, or take away those that an earlier call gave."""
    policy = json.loads((aws.find("lambda", "get-policy", *words) or {}).get("Policy", "{}"))
    there = {statement.get("Sid") for statement in policy.get("Statement", ())}
    for statement, permission in _ANYBODY.items():
        if wanted and statement not in there:
            aws.call("lambda", "add-permission", *words, "--statement-id", statement, *permission)
        elif not wanted and statement in there:
            aws.remove("lambda", "remove-permission", *words, "--statement-id", statement)

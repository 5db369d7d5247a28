"""Target `cloud-functions`: a function of Google Cloud Functions (second generation), of the runner and Google's own Python.

`main.py` is what functions-framework starts; `function.yaml` is what `gcloud functions deploy --flags-file` takes.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from aweigh.deploy.bundle import runner_bundle
from aweigh.deploy.commands import Commands
from aweigh.deploy.google import Google, checked, cpu_of, memory_mistake, where
from aweigh.deploy.platforms import Platform, WheelTarget
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.yaml_text import read_yaml, yaml_text

_FLAGS: Final = "function.yaml"
_MAIN: Final = "main.py"
_ENTRY: Final = Path(__file__).parent.parent / "entries" / "cloud_functions.txt"
_GLIBC: Final = (2, 35)
"""Of Ubuntu 22.04, on which Google runs these Pythons."""
_REQUIREMENTS: Final = b"functions-framework==3.10.2\n"
_IGNORED: Final = b"aweigh-deploy.json\nfunction.yaml\n.gcloudignore\n"
_SIZES_MIB: Final = (512, 1024, 2048, 4096, 8192, 16384, 32768)
_FLAG: Final = re.compile(r"--[a-z0-9-]+", re.ASCII)


class CloudFunctionsOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    project: str = ""
    """Empty: the one that gcloud is configured with; `region` the same."""
    region: str = ""
    runtime: Literal["python312", "python313"] = "python312"
    memory_mib: Annotated[int, msgspec.Meta(ge=0, le=32768)] = 0
    """0: what the model takes, half a gibibyte at least. Processors come with it: one for each four gibibytes."""
    timeout_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 60
    service_account: str = ""
    public: bool = False


class CloudFunctions:
    """The target."""

    name: ClassVar[str] = "cloud-functions"
    options: ClassVar[type[msgspec.Struct]] = CloudFunctionsOptions
    needs: ClassVar[frozenset[Need]] = frozenset()

    def render(self, job: DeployJob) -> Rendered:
        options = _options(job)
        checked(project=options.project, region=options.region, account=options.service_account)
        target = WheelTarget(platform=Platform(architecture="amd64"), python=(3, int(options.runtime[7:])), glibc=_GLIBC)
        files = dict(runner_bundle(job.package, job.variant, target, cache=job.cache, progress=job.progress))
        memory_mib = options.memory_mib or next((size for size in _SIZES_MIB if size >= 1.25 * job.capacity.memory_mib), _SIZES_MIB[-1])
        said = [f"{job.package.reference} on Google Cloud Functions. Made by `aweigh deploy`."]
        flags = yaml_text(_flags(job, options, memory_mib), said=said)
        files |= {_MAIN: _ENTRY.read_bytes(), "requirements.txt": _REQUIREMENTS, ".gcloudignore": _IGNORED, _FLAGS: flags}
        place = " ".join(["", *where(options.project, options.region)])
        return Rendered(
            files=files,
            does=[
                f"a function '{job.name}' on Google's own {options.runtime}, {job.scale.least} to {job.scale.most} instances",
                "anybody may ask it" if options.public else "who has the role Cloud Run Invoker may ask it",
            ],
            costs=cost_lines("cloud-functions", job, cores=cpu_of(memory_mib), memory_mib=memory_mib),
            commands=[f"gcloud functions deploy {job.name} --flags-file={_FLAGS} --source=.{place}"],
            notes=["an instance answers one request at a time"],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        documents = read_yaml((folder / _FLAGS).read_bytes(), place=_FLAGS)
        flags: dict[str, Any] = documents[0] if len(documents) == 1 and isinstance(documents[0], dict) else {}
        found = [Finding(place=f"{_FLAGS}: {flag}", message="is no flag") for flag in flags if not _FLAG.fullmatch(str(flag))]
        found += [Finding(place=f"{_FLAGS}: {flag}", message="is missing") for flag in ("--runtime", "--entry-point") if flag not in flags]
        if flags.get("--min-instances", 0) > flags.get("--max-instances", 1):
            found.append(Finding(place=f"{_FLAGS}: --min-instances", message="is more than --max-instances"))
        cpu, memory = str(flags.get("--cpu", "")), str(flags.get("--memory", "")).removesuffix("Mi")
        if said := memory_mistake(int(cpu) if cpu.isdecimal() else 0, int(memory) if memory.isdecimal() else 0):
            found.append(Finding(place=f"{_FLAGS}: --memory", message=said))
        try:
            compile((folder / _MAIN).read_bytes(), _MAIN, "exec")
        except SyntaxError as error:
            found.append(Finding(place=f"{_MAIN}:{error.lineno}", message=str(error.msg)))
        return found

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options = _options(job)
        google = Google(commands, project=options.project, region=options.region)
        google.call("functions", "deploy", job.name, f"--flags-file={folder / _FLAGS}", f"--source={folder}")
        address = google.call("functions", "describe", job.name, "--gen2", "--format=value(serviceConfig.uri)").strip()
        return Applied(facts={"name": job.name, "project": options.project, "region": options.region}, address=address)

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        google = Google(commands, project=facts["project"], region=facts["region"])
        google.remove("functions", "delete", facts["name"], "--gen2")


def _options(job: DeployJob) -> CloudFunctionsOptions:
    return job.options if isinstance(job.options, CloudFunctionsOptions) else CloudFunctionsOptions()


def _flags(job: DeployJob, options: CloudFunctionsOptions, memory_mib: int) -> dict[str, Any]:
    flags: dict[str, Any] = {
        "--gen2": None,
        "--runtime": options.runtime,
        "--entry-point": "predict",
        "--trigger-http": None,
        "--memory": f"{memory_mib}Mi",
        "--cpu": str(cpu_of(memory_mib)),
        "--concurrency": 1,
        "--min-instances": job.scale.least,
        "--max-instances": job.scale.most,
        "--timeout": f"{options.timeout_s}s",
        "--set-env-vars": {"ORT_DISABLE_TELEMETRY": "1"},
    }
    flags["--allow-unauthenticated" if options.public else "--no-allow-unauthenticated"] = None
    return flags | ({"--service-account": options.service_account} if options.service_account else {})

"""Target `cloud-run`: a service of Google Cloud Run, from an image, as the Knative document that `gcloud run services replace` takes.

Requests reach an instance once its start-up probe has seen it ready: until then Cloud Run holds them, so that the first one is answered and not refused.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import msgspec

from aweigh.deploy.capacity import HEADROOM, Capacity
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import PORT, Container, container_of
from aweigh.deploy.google import MEMORY_OF_CPU, Google, checked, cpu_of, memory_mistake, where
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.yaml_text import read_yaml, yaml_text

_FILE: Final = "service.yaml"
_RESERVED: Final = frozenset({"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"})
"""Variables that Cloud Run sets and nobody else may: https://cloud.google.com/run/docs/container-contract"""
_DRAIN_S: Final = 8
"""Cloud Run kills ten seconds after SIGTERM."""
_TRANSIT_MS: Final = 5.0
"""What a request is counted as in flight for beside its answering: between Cloud Run's front and the instance."""
_MAX_CONCURRENCY: Final = 1000
_MAX_START_S: Final = 240


class CloudRunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    project: str = ""
    """Empty: the one that gcloud is configured with; `region` the same."""
    region: str = ""
    cpu: Annotated[int, msgspec.Meta(ge=0, le=8)] = 0
    """1, 2, 4, 6 or 8; 0: one, or as many as the memory goes with."""
    memory_mib: Annotated[int, msgspec.Meta(ge=0, le=32768)] = 0
    """0: what the model takes in every worker, half a gibibyte at least."""
    concurrency: Annotated[int, msgspec.Meta(ge=0, le=_MAX_CONCURRENCY)] = 0
    """Requests in flight at one instance; 0: what its capacity answers."""
    timeout_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 60
    service_account: str = ""
    public: bool = False
    """Whether anybody may ask; otherwise those with the role Cloud Run Invoker."""


class CloudRun:
    """The target."""

    name: ClassVar[str] = "cloud-run"
    options: ClassVar[type[msgspec.Struct]] = CloudRunOptions
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGE})

    def render(self, job: DeployJob) -> Rendered:
        options = _options(job)
        checked(project=options.project, region=options.region, account=options.service_account)
        container = container_of(job)
        size = _size(options, container)
        concurrency = options.concurrency or _concurrency(job.capacity, size.workers)
        document = _service(job, container, size, concurrency=concurrency)
        said = [f"{job.package.reference} on Google Cloud Run. Made by `aweigh deploy`; {job.capacity.source}."]
        scale = job.scale
        held = (
            "no instance is kept while nobody asks: the first request waits until one has started"
            if scale.least == 0
            else (f"{scale.least} kept ready and paid for while nobody asks (--scale 0..N keeps none)")
        )
        place = " ".join(["", *where(options.project, options.region)])
        commands = [f"gcloud run services replace {_FILE}{place}"]
        if options.public:
            binding = "--member=allUsers --role=roles/run.invoker"
            commands.append(f"gcloud run services add-iam-policy-binding {job.name} {binding}{place}")
        return Rendered(
            files={_FILE: yaml_text(document, said=said)},
            does=[
                f"a service '{job.name}' of {scale.least} to {scale.most} instances, each answering {concurrency} requests at once",
                held,
                "anybody may ask it" if options.public else "who has the role Cloud Run Invoker may ask it",
            ],
            costs=cost_lines("cloud-run", job, cores=size.cpu, memory_mib=size.memory_mib),
            commands=commands,
            notes=[f"concurrency {concurrency}: what {size.workers} cores answer while a request is on its way"],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        return check_service((folder / _FILE).read_bytes())

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options = _options(job)
        google = Google(commands, project=options.project, region=options.region)
        google.call("run", "services", "replace", str(folder / _FILE))
        if options.public:
            google.call("run", "services", "add-iam-policy-binding", job.name, "--member=allUsers", "--role=roles/run.invoker")
        address = google.call("run", "services", "describe", job.name, "--format=value(status.url)").strip()
        return Applied(facts={"name": job.name, "project": options.project, "region": options.region}, address=address)

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        google = Google(commands, project=facts["project"], region=facts["region"])
        google.remove("run", "services", "delete", facts["name"])


def _options(job: DeployJob) -> CloudRunOptions:
    return job.options if isinstance(job.options, CloudRunOptions) else CloudRunOptions()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """Of one instance."""

    cpu: int
    memory_mib: int
    workers: int
    """Processes, each of which holds the model: a processor has one, as far as there is memory for them."""


def _size(options: CloudRunOptions, container: Container) -> _Size:
    one = container.memory_mib
    cpu = options.cpu or cpu_of(options.memory_mib or one)
    least, most = MEMORY_OF_CPU.get(cpu, (0, 0))
    workers = max(1, min(cpu, (options.memory_mib or most) // one))
    return _Size(cpu=cpu, memory_mib=options.memory_mib or max(least, workers * one), workers=workers)


def _concurrency(capacity: Capacity, cores: int) -> int:
    """Little's law, of what a core answers with headroom, for as long as a request is counted."""
    rate = capacity.requests_per_second * HEADROOM * cores
    return min(_MAX_CONCURRENCY, max(1, round(rate * (capacity.latency_ms + _TRANSIT_MS) / 1000)))


def _service(job: DeployJob, container: Container, size: _Size, *, concurrency: int) -> dict[str, Any]:
    """https://cloud.google.com/run/docs/reference/yaml/v1"""
    options, scale = _options(job), job.scale
    environment = {**container.environment, "AWEIGH_DRAIN_TIMEOUT_S": str(_DRAIN_S), "AWEIGH_REQUEST_TIMEOUT_S": str(options.timeout_s)}
    if size.cpu > 1:
        environment["AWEIGH_WORKERS"] = str(size.workers)
    labels = {"aweigh-model": job.package.reference.name.replace(".", "_")[:63], "aweigh-version": container.version}
    start_s = min(_MAX_START_S, container.start_limit_s)
    pod: dict[str, Any] = {
        "containerConcurrency": concurrency,
        "timeoutSeconds": options.timeout_s,
        **({"serviceAccountName": options.service_account} if options.service_account else {}),
        "containers": [
            {
                "image": container.image,
                "ports": [{"containerPort": PORT}],
                "env": [{"name": name, "value": value} for name, value in environment.items() if name not in _RESERVED],
                "resources": {"limits": {"cpu": str(size.cpu), "memory": f"{size.memory_mib}Mi"}},
                "startupProbe": {
                    "httpGet": {"path": "/ready", "port": PORT},
                    "periodSeconds": 1,
                    "timeoutSeconds": 1,
                    "failureThreshold": start_s,
                },
                "livenessProbe": {"httpGet": {"path": "/live", "port": PORT}, "periodSeconds": 10, "failureThreshold": 3},
            }
        ],
    }
    annotations = {
        "autoscaling.knative.dev/minScale": str(scale.least),
        "autoscaling.knative.dev/maxScale": str(scale.most),
        "run.googleapis.com/startup-cpu-boost": "true",
        "run.googleapis.com/execution-environment": "gen2",
    }
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": job.name, "labels": labels},
        "spec": {"template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod}},
    }


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """Of a document in which an unknown field is a mistake."""


class _Get(_Strict):
    path: str
    port: int


class _Probe(_Strict):
    httpGet: _Get  # noqa: N815  # Knative's names
    periodSeconds: Annotated[int, msgspec.Meta(ge=1, le=240)] = 10  # noqa: N815
    timeoutSeconds: Annotated[int, msgspec.Meta(ge=1, le=240)] = 1  # noqa: N815
    failureThreshold: Annotated[int, msgspec.Meta(ge=1)] = 3  # noqa: N815


class _Port(_Strict):
    containerPort: Annotated[int, msgspec.Meta(ge=1, le=65535)]  # noqa: N815


class _Variable(_Strict):
    name: str
    value: str


class _Limits(_Strict):
    cpu: str
    memory: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+Mi$")]


class _Resources(_Strict):
    limits: _Limits


class _Container(_Strict):
    image: str
    ports: Annotated[tuple[_Port, ...], msgspec.Meta(min_length=1, max_length=1)]
    env: tuple[_Variable, ...]
    resources: _Resources
    startupProbe: _Probe  # noqa: N815
    livenessProbe: _Probe  # noqa: N815


class _Pod(_Strict, kw_only=True):
    containerConcurrency: Annotated[int, msgspec.Meta(ge=1, le=_MAX_CONCURRENCY)]  # noqa: N815
    timeoutSeconds: Annotated[int, msgspec.Meta(ge=1, le=3600)]  # noqa: N815
    serviceAccountName: str = ""  # noqa: N815
    containers: Annotated[tuple[_Container, ...], msgspec.Meta(min_length=1, max_length=1)]


class _Metadata(_Strict):
    name: str = ""
    labels: dict[str, Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_-]{0,63}$")]] = {}
    annotations: dict[str, str] = {}


class _Template(_Strict):
    metadata: _Metadata
    spec: _Pod


class _Spec(_Strict):
    template: _Template


class _Service(_Strict):
    apiVersion: str  # noqa: N815
    kind: str
    metadata: _Metadata
    spec: _Spec


def check_service(data: bytes) -> list[Finding]:
    """Read the document strictly, and look for what its form lets through."""
    documents = read_yaml(data, place=_FILE)
    try:
        service = msgspec.convert(documents[0] if len(documents) == 1 else documents, _Service)
    except msgspec.ValidationError as error:
        return [Finding(place=_FILE, message=str(error), hint="mend it, or render it again with --force")]
    template = service.spec.template
    container = template.spec.containers[0]
    found = [
        ("$.spec.template.spec.containers[0].env", f"{each.name} is set by Cloud Run alone")
        for each in container.env
        if each.name in _RESERVED
    ]
    for name, probe in (("startupProbe", container.startupProbe), ("livenessProbe", container.livenessProbe)):
        if probe.httpGet.port != container.ports[0].containerPort:
            found.append((f"$.spec.template.spec.containers[0].{name}", f"asks port {probe.httpGet.port}, and nothing listens there"))
    start = container.startupProbe
    if start.periodSeconds * start.failureThreshold > _MAX_START_S:
        found.append(("$.spec.template.spec.containers[0].startupProbe", f"waits longer than {_MAX_START_S} s, which Cloud Run refuses"))
    least, most = (template.metadata.annotations.get(f"autoscaling.knative.dev/{name}Scale", "") for name in ("min", "max"))
    if least.isdecimal() and most.isdecimal() and int(least) > max(int(most), 1):
        found.append(("$.spec.template.metadata.annotations", f"at least {least} instances and at most {most}"))
    cpu, memory = container.resources.limits.cpu, int(container.resources.limits.memory.removesuffix("Mi"))
    if said := memory_mistake(int(cpu) if cpu.isdecimal() else 0, memory):
        found.append(("$.spec.template.spec.containers[0].resources", said))
    return [Finding(place=f"{_FILE}: {place}", message=message) for place, message in found]

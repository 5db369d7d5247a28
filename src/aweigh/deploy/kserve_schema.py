"""The shapes of KServe's objects that aweigh renders, strictly, and what they must say of each other. Used by the target `kserve` alone."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from aweigh.core.errors import InvalidInput
from aweigh.deploy.container import image_address
from aweigh.deploy.kubernetes_schema import Container, Metadata, Quantity
from aweigh.deploy.manifest_checks import shape_finding
from aweigh.deploy.target import Finding

_Count = Annotated[int, Meta(ge=0)]
_MODE: Final = "serving.kserve.io/deploymentMode"
_KNATIVE: Final = frozenset({"Serverless", "Knative"})
_RESERVED: Final = frozenset({"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"})
_MAX_TIMEOUT_S: Final = 600


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    pass


class SupportedFormat(_Strict, frozen=True, kw_only=True):
    name: str
    version: str = ""
    auto_select: bool = False
    priority: int | None = None


class RuntimeSpec(_Strict, frozen=True, kw_only=True):
    supported_model_formats: Annotated[list[SupportedFormat], Meta(min_length=1)]
    containers: Annotated[list[Container], Meta(min_length=1)]
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    protocol_versions: list[Literal["v1", "v2", "grpc-v1", "grpc-v2"]] = []
    multi_model: bool = False
    disabled: bool = False
    volumes: list[Any] = []
    node_selector: dict[str, str] = {}
    tolerations: list[Any] = []
    affinity: Any = None
    image_pull_secrets: list[Any] = []


class ServingRuntime(_Strict, frozen=True, kw_only=True):
    api_version: Literal["serving.kserve.io/v1alpha1"]
    kind: Literal["ServingRuntime"]
    metadata: Metadata
    spec: RuntimeSpec


class Resources(_Strict, frozen=True, kw_only=True):
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}


class ModelFormat(_Strict, frozen=True, kw_only=True):
    name: str
    version: str = ""


class Model(_Strict, frozen=True, kw_only=True):
    model_format: ModelFormat
    storage_uri: str
    runtime: str = ""
    protocol_version: Literal["v1", "v2", "grpc-v1", "grpc-v2"] = "v1"
    resources: Resources = Resources()
    env: list[Any] = []
    args: list[str] = []


class Predictor(_Strict, frozen=True, kw_only=True):
    model: Model | None = None
    containers: list[Container] = []
    volumes: list[Any] = []
    min_replicas: _Count = 1
    max_replicas: _Count = 0
    scale_metric: Literal["cpu", "memory", "concurrency", "rps"] | None = None
    scale_target: Annotated[int, Meta(ge=1)] | None = None
    canary_traffic_percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    container_concurrency: _Count = 0
    timeout: _Count | None = None
    termination_grace_period_seconds: _Count | None = None
    automount_service_account_token: bool = True
    enable_service_links: bool = True
    service_account_name: str = ""
    node_selector: dict[str, str] = {}
    tolerations: list[Any] = []
    affinity: Any = None
    image_pull_secrets: list[Any] = []
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ServiceSpec(_Strict, frozen=True, kw_only=True):
    predictor: Predictor
    transformer: Any = None
    explainer: Any = None


class InferenceService(_Strict, frozen=True, kw_only=True):
    api_version: Literal["serving.kserve.io/v1beta1"]
    kind: Literal["InferenceService"]
    metadata: Metadata
    spec: ServiceSpec


def check(documents: Sequence[tuple[str, Any]]) -> list[Finding]:
    """What is wrong with these objects, each by itself and with each other."""
    findings: list[Finding] = []
    runtimes: dict[str, ServingRuntime] = {}
    services: list[tuple[str, InferenceService]] = []
    for place, document in documents:
        kind = document.get("kind") if isinstance(document, dict) else None
        try:
            if kind == "ServingRuntime":
                runtime = msgspec.convert(document, ServingRuntime)
                runtimes[runtime.metadata.name] = runtime
                findings += _containers(f"{place}: $.spec.containers", runtime.spec.containers)
            elif kind == "InferenceService":
                services.append((place, msgspec.convert(document, InferenceService)))
            else:
                findings.append(Finding(place=place, message=f"kind {kind!r} is not of KServe"))
        except msgspec.ValidationError as error:
            findings.append(shape_finding(place, ServingRuntime if kind == "ServingRuntime" else InferenceService, str(error)))
    for place, service in services:
        findings += _service(place, service, runtimes)
        if service.metadata.annotations.get(_MODE, "Knative") in _KNATIVE:
            findings += _of_knative(place, service.spec.predictor)
            for runtime in runtimes.values():
                findings += _reserved(f"ServingRuntime {runtime.metadata.name}: $.spec.containers", runtime.spec.containers)
    return findings


def _containers(place: str, containers: Sequence[Container]) -> Iterator[Finding]:
    if "kserve-container" not in [each.name for each in containers]:
        yield Finding(place=place, message="none is named 'kserve-container', which KServe looks for")
    for at, each in enumerate(containers):
        ports = [port.container_port for port in each.ports]
        for probe in (each.startup_probe, each.readiness_probe, each.liveness_probe):
            if probe and probe.http_get and probe.http_get.port not in ports:
                yield Finding(place=f"{place}[{at}]", message=f"a probe asks port {probe.http_get.port!r}, and {ports} are listened on")


def _of_knative(place: str, predictor: Predictor) -> Iterator[Finding]:
    """What Knative's admission refuses, once KServe hands the pod on to it."""
    where = f"{place}: $.spec.predictor"
    if predictor.termination_grace_period_seconds is not None:
        yield Finding(
            place=f"{where}.terminationGracePeriodSeconds", message="Knative refuses it", hint="say timeout: a pod that ends has as long"
        )
    if predictor.timeout and predictor.timeout > _MAX_TIMEOUT_S:
        message = f"{predictor.timeout} s, where Knative takes {_MAX_TIMEOUT_S} unless its max-revision-timeout-seconds says more"
        yield Finding(place=f"{where}.timeout", message=message, fatal=False)
    yield from _reserved(f"{where}.containers", predictor.containers)


def _reserved(place: str, containers: Sequence[Container]) -> Iterator[Finding]:
    for at, each in enumerate(containers):
        for variable in each.env:
            if variable.name in _RESERVED:
                yield Finding(place=f"{place}[{at}].env", message=f"{variable.name} is Knative's own to say", hint="take it out")


def _service(place: str, service: InferenceService, runtimes: dict[str, ServingRuntime]) -> Iterator[Finding]:
    predictor = service.spec.predictor
    where = f"{place}: $.spec.predictor"
    if predictor.max_replicas and predictor.min_replicas > predictor.max_replicas:
        yield Finding(
            place=f"{where}.minReplicas", message=f"{predictor.min_replicas} at least, where {predictor.max_replicas} are the most"
        )
    if predictor.min_replicas == 0 and predictor.scale_metric in {"cpu", "memory"}:
        yield Finding(place=f"{where}.scaleMetric", message=f"{predictor.scale_metric} cannot tell that somebody asks where no pod runs")
    if predictor.model is None:
        yield from _containers(f"{where}.containers", predictor.containers)
    elif predictor.containers:
        yield Finding(place=f"{where}.containers", message="there is a model too: KServe takes one of them")
    else:
        yield from _model(f"{where}.model", predictor.model, runtimes)


def _model(where: str, model: Model, runtimes: dict[str, ServingRuntime]) -> Iterator[Finding]:
    scheme, _, address = model.storage_uri.partition("://")
    try:
        image_address(address if scheme in {"oci", "oci+modelcar", "oci+native"} else "")
    except InvalidInput as error:
        yield Finding(place=f"{where}.storageUri", message=error.message, hint="write it as oci://registry.example/team/name@sha256:…")
    runtime = runtimes.get(model.runtime)
    if runtimes and runtime is None:
        yield Finding(
            place=f"{where}.runtime", message=f"there is no ServingRuntime {model.runtime!r}", hint=f"there is {', '.join(runtimes)}"
        )
    elif runtime and model.model_format.name not in [each.name for each in runtime.spec.supported_model_formats]:
        yield Finding(place=f"{where}.modelFormat", message=f"the ServingRuntime does not take {model.model_format.name!r}")

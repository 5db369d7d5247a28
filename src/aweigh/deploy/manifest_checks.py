"""Manifests of Kubernetes read as a cluster would: their shape, and what a schema lets through: ports that nobody listens on, selectors that find nothing.

Used by the targets `kubernetes`, `podman` and `kserve`. Never asks a cluster.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from aweigh.core.errors import InvalidInput
from aweigh.core.nearest import nearest
from aweigh.deploy.container import image_address
from aweigh.deploy.kubernetes_schema import (
    KINDS,
    Autoscaler,
    Budget,
    Container,
    Deployment,
    Known,
    Metadata,
    Monitor,
    NetworkPolicy,
    Pod,
    PodSpec,
    Probe,
    Service,
)
from aweigh.deploy.target import Finding

_UNKNOWN: Final = re.compile(r"unknown field `(?P<field>[^`]*)`(?: - at `(?P<place>[^`]*)`)?")
_PLACE: Final = re.compile(r"(?P<message>.*?)(?: - at `(?P<place>[^`]*)`)?", re.DOTALL)
_UNITS: Final = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}  # fmt: skip
Documents = Sequence[tuple[str, Any]]
"""Each with the file that it stands in."""


def check_manifests(documents: Documents) -> list[Finding]:
    """What is wrong with these objects, each by itself and with each other. Objects of kinds that are not known here are left to the cluster."""
    findings: list[Finding] = []
    known: list[tuple[str, Known]] = []
    for place, document in documents:
        read = _read(place, document)
        if isinstance(read, Finding):
            findings.append(read)
        elif read is not None:
            known.append((place, read))
    return [*findings, *_Together(known).findings()]


def _read(place: str, document: Any) -> Known | Finding | None:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str) or not isinstance(document.get("apiVersion"), str):
        return Finding(place=place, message="is no object of Kubernetes: it has no apiVersion and kind")
    kind = document["kind"]
    shape = KINDS.get(kind)
    if shape is None:
        near = nearest(kind, KINDS)
        hint = f"did you mean {near!r}?" if near else ""
        return Finding(place=place, message=f"kind {kind!r} is not known here and was not checked", hint=hint, fatal=bool(near))
    try:
        return msgspec.convert(document, shape)
    except msgspec.ValidationError as error:
        return shape_finding(place, shape, str(error))


def shape_finding(place: str, shape: type[msgspec.Struct], said: str) -> Finding:
    """What msgspec said of a document that has not the shape, with its place and what a misspelt field was meant to be."""
    if unknown := _UNKNOWN.search(said):
        field, where = unknown["field"], unknown["place"] or "$"
        near = nearest(field, _fields_of(shape))
        return Finding(place=f"{place}: {where}", message=f"unknown field {field!r}", hint=f"did you mean {near!r}?" if near else "")
    found = _PLACE.fullmatch(said)
    message, where = (found["message"], found["place"]) if found else (said, None)
    return Finding(place=f"{place}: {where or '$'}", message=message)


def _fields_of(shape: Any) -> list[str]:
    """Names of all fields anywhere in a shape."""
    names: list[str] = []
    left, seen = [msgspec.inspect.type_info(shape)], set()
    while left:
        each: Any = left.pop()
        if isinstance(each, msgspec.inspect.StructType):
            if each.cls in seen:
                continue
            seen.add(each.cls)
            names.extend(field.encode_name for field in each.fields)
            left.extend(field.type for field in each.fields)
        elif isinstance(each, msgspec.inspect.ListType):
            left.append(each.item_type)
        elif isinstance(each, msgspec.inspect.UnionType):
            left.extend(each.types)
    return names


class _Together:
    """Objects that are applied together."""

    def __init__(self, known: Sequence[tuple[str, Known]]) -> None:
        self._known = known
        self._pods: list[tuple[str, Metadata | None, Mapping[str, str], PodSpec]] = []
        for place, each in known:
            if isinstance(each, Deployment):
                template = each.spec.template
                self._pods.append((place, each.metadata, template.metadata.labels, template.spec))
            elif isinstance(each, Pod):
                self._pods.append((place, each.metadata, each.metadata.labels, each.spec))

    def findings(self) -> Iterator[Finding]:
        yield from self._twice()
        for place, each in self._known:
            match each:
                case Deployment():
                    yield from _deployment(place, each)
                    yield from _pod(f"{place}: $.spec.template.spec", each.spec.template.spec)
                case Pod():
                    yield from _pod(f"{place}: $.spec", each.spec)
                case Service():
                    yield from self._service(place, each)
                case Autoscaler():
                    yield from self._autoscaler(place, each)
                case Budget():
                    yield from self._budget(place, each)
                case NetworkPolicy():
                    yield from self._policy(place, each)
                case Monitor():
                    yield from self._monitor(place, each)

    def _twice(self) -> Iterator[Finding]:
        seen: dict[tuple[str, str, str], str] = {}
        for place, each in self._known:
            key = (each.kind, each.metadata.namespace, each.metadata.name)
            if key in seen:
                yield Finding(place=place, message=f"{each.kind} {each.metadata.name!r} is in {seen[key]} too")
            seen[key] = place

    def _selected(self, labels: Mapping[str, str]) -> list[PodSpec]:
        return [spec for _, _, own, spec in self._pods if labels.items() <= own.items()]

    def _nothing(self, place: str, labels: Mapping[str, str]) -> Iterator[Finding]:
        """Where there are pods at all, some must be meant."""
        if self._pods and not self._selected(labels):
            yield Finding(place=place, message=f"no pod has the labels {_told(labels)}", hint=f"pods have {_told(self._pods[0][2])}")

    def _service(self, place: str, service: Service) -> Iterator[Finding]:
        selector = service.spec.selector
        if not selector:
            yield Finding(place=f"{place}: $.spec.selector", message="selects no pods")
            return
        yield from self._nothing(f"{place}: $.spec.selector", selector)
        for at, port in enumerate(service.spec.ports):
            wanted = port.target_port or port.port
            where = f"{place}: $.spec.ports[{at}].targetPort"
            for spec in self._selected(selector):
                yield from _listens(where, wanted, spec)

    def _autoscaler(self, place: str, scaler: Autoscaler) -> Iterator[Finding]:
        spec = scaler.spec
        if spec.min_replicas > spec.max_replicas:
            yield Finding(
                place=f"{place}: $.spec.minReplicas", message=f"{spec.min_replicas} at least, where {spec.max_replicas} are the most"
            )
        deployments = {each.metadata.name: each for _, each in self._known if isinstance(each, Deployment)}
        wanted = spec.scale_target_ref.name
        if deployments and wanted not in deployments:
            near = nearest(wanted, deployments)
            where = f"{place}: $.spec.scaleTargetRef.name"
            yield Finding(place=where, message=f"there is no Deployment {wanted!r}", hint=f"did you mean {near!r}?" if near else "")
        elif wanted in deployments and deployments[wanted].spec.replicas is not None:
            yield Finding(
                place=f"{place}: $.spec.scaleTargetRef.name",
                message="the Deployment states replicas: each apply would undo what the autoscaler did",
                hint="leave out $.spec.replicas of the Deployment",
            )
        yield from self._requests_for_cpu(place, scaler, deployments)

    def _requests_for_cpu(self, place: str, scaler: Autoscaler, deployments: Mapping[str, Deployment]) -> Iterator[Finding]:
        by_cpu = any(each.get("resource", {}).get("name") == "cpu" for each in scaler.spec.metrics)
        scaled = deployments.get(scaler.spec.scale_target_ref.name)
        if by_cpu and scaled and not all("cpu" in each.resources.requests for each in scaled.spec.template.spec.containers):
            yield Finding(place=f"{place}: $.spec.metrics", message="scales by a share of the CPU requested, and a container requests none")

    def _budget(self, place: str, budget: Budget) -> Iterator[Finding]:
        spec = budget.spec
        yield from self._nothing(f"{place}: $.spec.selector", spec.selector.match_labels)
        if (spec.min_available is None) == (spec.max_unavailable is None):
            yield Finding(place=f"{place}: $.spec", message="states neither or both of minAvailable and maxUnavailable")
            return
        if spec.max_unavailable in (0, "0%") or spec.min_available == "100%":
            yield Finding(place=f"{place}: $.spec", message="lets no pod go: nodes can never be emptied")
        for _, each in self._known:
            if not isinstance(each, Deployment) or not spec.selector.match_labels.items() <= each.spec.template.metadata.labels.items():
                continue
            if isinstance(spec.min_available, int) and each.spec.replicas is not None and spec.min_available >= each.spec.replicas:
                message = f"lets no pod go: {spec.min_available} of {each.spec.replicas} must stay, and nodes can never be emptied"
                yield Finding(place=f"{place}: $.spec.minAvailable", message=message)

    def _policy(self, place: str, policy: NetworkPolicy) -> Iterator[Finding]:
        labels = policy.spec.pod_selector.match_labels
        yield from self._nothing(f"{place}: $.spec.podSelector", labels)
        for at, rule in enumerate(policy.spec.ingress):
            for port in rule.ports:
                for spec in self._selected(labels):
                    yield from _listens(f"{place}: $.spec.ingress[{at}].ports", port.port, spec)

    def _monitor(self, place: str, monitor: Monitor) -> Iterator[Finding]:
        services = [each for _, each in self._known if isinstance(each, Service)]
        labels = monitor.spec.selector.match_labels
        meant = [each for each in services if labels.items() <= each.metadata.labels.items()]
        if services and not meant:
            yield Finding(place=f"{place}: $.spec.selector", message=f"no Service has the labels {_told(labels)}")
        for service in meant:
            names = [port.name for port in service.spec.ports]
            for at, endpoint in enumerate(monitor.spec.endpoints):
                if endpoint.port not in names:
                    where = f"{place}: $.spec.endpoints[{at}].port"
                    yield Finding(place=where, message=f"the Service has no port {endpoint.port!r}", hint=f"it has {', '.join(names)}")


def _deployment(place: str, deployment: Deployment) -> Iterator[Finding]:
    spec = deployment.spec
    wanted, labels = spec.selector.match_labels, spec.template.metadata.labels
    if not wanted and not spec.selector.match_expressions:
        yield Finding(place=f"{place}: $.spec.selector", message="selects no pods")
    if not wanted.items() <= labels.items():
        message = f"selects pods with {_told(wanted)}, and the template's have {_told(labels)}"
        yield Finding(place=f"{place}: $.spec.selector", message=message)
    rolling = spec.strategy.rolling_update
    if rolling and rolling.max_surge in (0, "0%") and rolling.max_unavailable in (0, "0%"):
        yield Finding(place=f"{place}: $.spec.strategy", message="maxSurge and maxUnavailable are both 0: nothing could ever be replaced")


def _pod(place: str, spec: PodSpec) -> Iterator[Finding]:
    volumes = [str(each.get("name")) for each in spec.volumes]
    names = [each.name for each in (*spec.init_containers, *spec.containers)]
    for what, given in (("container", names), ("volume", volumes)):
        for name in sorted({name for name in given if given.count(name) > 1}):
            yield Finding(place=place, message=f"two {what}s are named {name!r}")
    ports = [(port.container_port, port.protocol) for each in spec.containers for port in each.ports]
    for port in sorted({port for port in ports if ports.count(port) > 1}):
        yield Finding(place=f"{place}.containers", message=f"port {port[0]} is listened on twice")
    for at, container in enumerate(spec.containers):
        yield from _container(f"{place}.containers[{at}]", container, spec, volumes)


def _container(place: str, container: Container, spec: PodSpec, volumes: Sequence[str]) -> Iterator[Finding]:
    try:
        image_address(container.image)
    except InvalidInput as error:
        yield Finding(place=f"{place}.image", message=error.message, hint=error.hint)
    else:
        if "@sha256:" not in container.image:
            yield Finding(
                place=f"{place}.image",
                message="has no digest: what it names may change under running pods",
                hint="give the address with @sha256:…",
                fatal=False,
            )
    for mount in container.volume_mounts:
        if mount.name not in volumes:
            yield Finding(place=f"{place}.volumeMounts", message=f"there is no volume {mount.name!r}")
    names = [variable.name for variable in container.env]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding(place=f"{place}.env", message=f"{name} is set twice")
    for name, limit in container.resources.limits.items():
        if name in container.resources.requests and quantity(container.resources.requests[name]) > quantity(limit):
            yield Finding(place=f"{place}.resources", message=f"more {name} is requested than the limit allows")
    yield from _probes(place, container, spec)


def _probes(place: str, container: Container, spec: PodSpec) -> Iterator[Finding]:
    probes = {
        "startupProbe": container.startup_probe,
        "readinessProbe": container.readiness_probe,
        "livenessProbe": container.liveness_probe,
    }
    for name, probe in probes.items():
        if probe is None:
            continue
        if sum(way is not None for way in (probe.http_get, probe.exec, probe.tcp_socket, probe.grpc)) != 1:
            yield Finding(place=f"{place}.{name}", message="asks in no way, or in several")
        if probe.http_get is not None:
            yield from _listens(f"{place}.{name}.httpGet.port", probe.http_get.port, spec, only=container)
    live, ready = container.liveness_probe, container.readiness_probe
    if live and ready and _asked(live) and _asked(live) == _asked(ready):
        yield Finding(
            place=f"{place}.livenessProbe",
            message="asks what the readinessProbe asks: a server that drains or loads would be killed",
            hint="ask /live, and /ready for readiness",
        )
    drain_s = sum(_number(container, name) for name in ("AWEIGH_DRAIN_DELAY_S", "AWEIGH_DRAIN_TIMEOUT_S"))
    if drain_s > spec.termination_grace_period_seconds:
        yield Finding(
            place=place,
            message=f"the server may take {drain_s:g} s to end, and is killed after {spec.termination_grace_period_seconds} s",
            hint="raise terminationGracePeriodSeconds",
        )


def _asked(probe: Probe) -> tuple[str, object] | None:
    return (probe.http_get.path, probe.http_get.port) if probe.http_get else None


def _number(container: Container, name: str) -> float:
    found = next((each.value for each in container.env if each.name == name), "0")
    try:
        return float(found)
    except ValueError:
        return 0.0


def _listens(place: str, wanted: int | str, spec: PodSpec, *, only: Container | None = None) -> Iterator[Finding]:
    ports = [port for each in ([only] if only else spec.containers) for port in each.ports]
    if wanted in [port.name for port in ports] or wanted in [port.container_port for port in ports]:
        return
    there = ", ".join(f"{port.name or '?'}={port.container_port}" for port in ports) or "none"
    yield Finding(place=place, message=f"no container listens on port {wanted!r}", hint=f"ports there: {there}")


def quantity(value: str | float) -> float:
    """`500m`, `64Mi`, `2` as a number."""
    if not isinstance(value, str):
        return float(value)
    number = value.rstrip("kmKMGTPi")
    return float(number) * _UNITS[value[len(number) :]]


def _told(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items()) or "none"

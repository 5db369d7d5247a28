"""Objects of Kubernetes as data: pods of the server and what stands around them. Used by the targets `kubernetes`, `podman` and `kserve`.

Nothing here reads or writes; nothing is text that another program would take apart.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aweigh.deploy.capacity import HEADROOM, Capacity
from aweigh.deploy.container import KEYS_FOLDER, PORT, USER, Container
from aweigh.deploy.target import Demand

Object = dict[str, Any]
MANAGED: Final = {"app.kubernetes.io/managed-by": "aweigh"}
INSTANCE: Final = "app.kubernetes.io/instance"
_NAME: Final = "app.kubernetes.io/name"
TRACK: Final = "aweigh/track"
"""Which of several Deployments of one name a pod belongs to: `stable`, `canary`, or the first digits of an image's digest."""
QUEUE_METRIC: Final = "aweigh_requests_queued"
_QUEUED_SHARE: Final = 0.25
"""Of an objective's time, what requests may spend waiting on average."""
_METRICS_KEY: Final = "metrics"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One Deployment's pods."""

    name: str
    """Of the Deployment."""
    app: str
    """The name that all Deployments behind one Service share."""
    track: str
    container: Container
    cpu_limit: bool = False
    keys_secret: str = ""
    """A Secret whose key `keys` is the file of API keys; empty: none are asked for."""

    @property
    def selector(self) -> dict[str, str]:
        return {INSTANCE: self.app, TRACK: self.track}

    @property
    def labels(self) -> dict[str, str]:
        return {**self.selector, _NAME: self.app, "app.kubernetes.io/version": self.container.version, **MANAGED}


def metadata(name: str, app: str, **more: Any) -> Object:
    """Name and labels of an object that belongs to an app."""
    return {"name": name, "labels": {_NAME: app, INSTANCE: app, **MANAGED}, **more}


def _of_track(workload: Workload, **more: Any) -> Object:
    """Name and labels of an object that belongs to one Deployment of several: `other_tracks` finds it by them."""
    about = metadata(workload.name, workload.app, **more)
    about["labels"][TRACK] = workload.track
    return about


def other_tracks(workload: Workload) -> str:
    """The selector of an app's objects of other tracks. The key is asked for by itself too: `!=` alone also takes what has no such label."""
    return f"{INSTANCE}={workload.app},{TRACK},{TRACK}!={workload.track}"


def deployment(workload: Workload, replicas: int | None) -> Object:
    """`replicas` is None where a HorizontalPodAutoscaler decides."""
    container = workload.container
    spec: Object = {} if replicas is None else {"replicas": replicas}
    spec |= {
        "revisionHistoryLimit": 5,
        "progressDeadlineSeconds": 2 * container.start_limit_s + container.grace_s,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": workload.selector},
        "template": {"metadata": {"labels": workload.labels, "annotations": facts(container)}, "spec": pod(workload)},
    }
    about = _of_track(workload, annotations=facts(container))
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": spec}


def facts(container: Container) -> dict[str, str]:
    """What people look up: which package answers."""
    return {"aweigh/model": container.model, "aweigh/package": container.digest}


def pod(workload: Workload) -> Object:
    """Not root, nothing to write to but /tmp, no token, no variables of other Services (one named 'aweigh' would be taken for settings)."""
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}]
    if workload.keys_secret:
        keys = {"secretName": workload.keys_secret, "items": [{"key": "keys", "path": "keys"}]}
        volumes.append({"name": "keys", "secret": keys})
    return {
        "terminationGracePeriodSeconds": workload.container.grace_s,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": workload.selector},
            }
        ],
        "containers": [pod_container(workload)],
        "volumes": volumes,
    }


def pod_container(workload: Workload, *, name: str = "server") -> Object:
    """The server, with probes that ask what they mean."""
    container = workload.container
    memory = f"{container.memory_mib}Mi"
    mounts: list[Object] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108  # the container's own
    if workload.keys_secret:
        mounts.append({"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True})
    return {
        "name": name,
        "image": container.image,
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "env": [{"name": key, "value": value} for key, value in container.environment.items()],
        "resources": {
            "requests": {"cpu": "1", "memory": memory},
            "limits": {**({"cpu": "1"} if workload.cpu_limit else {}), "memory": memory},
        },
        **probes(container),
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": mounts,
    }


def probes(container: Container) -> Object:
    """Started: every model answered its golden set here. Ready: requests may be sent. Live: the process answers at all, and is restarted where it does not."""
    return {
        "startupProbe": {**_asks("/ready"), "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": container.start_limit_s},
        "readinessProbe": {**_asks("/ready"), "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {**_asks("/live"), "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
    }


def _asks(path: str) -> Object:
    return {"httpGet": {"path": path, "port": "http"}}


def service(name: str, app: str, selector: Mapping[str, str]) -> Object:
    """One port for REST and gRPC: both are HTTP, on the server's one port."""
    spec = {
        "type": "ClusterIP",
        "selector": dict(selector),
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }
    about = metadata(name, app)
    about["labels"][_NAME] = name  # so that a monitor of one does not read the pods of another once more
    return {"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": spec}


def autoscaler(workload: Workload, least: int, most: int) -> Object:
    """By CPU: a full core of a model on the event loop is a full replica. The component `monitoring` adds the queue of models on threads."""
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.name},
        "minReplicas": max(1, least),
        "maxReplicas": most,
        "metrics": [cpu_metric()],
        "behavior": {
            "scaleUp": {
                "stabilizationWindowSeconds": 0,
                "selectPolicy": "Max",
                "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}, {"type": "Pods", "value": 2, "periodSeconds": 15}],
            },
            "scaleDown": {"stabilizationWindowSeconds": 300, "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]},
        },
    }
    about = _of_track(workload)
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": about, "spec": spec}


def cpu_metric() -> Object:
    """A share of the core that a pod requests."""
    target = {"type": "Utilization", "averageUtilization": round(100 * HEADROOM)}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def queue_metric(capacity: Capacity, demand: Demand) -> Object:
    """Requests that wait in a pod, on average over a minute, at which another pod is wanted.

    By Little's law what waits is rate x waiting time: as much as arrives, at the planned rate, in a quarter of the objective's time.
    """
    limit_s = demand.objective.limit_s if demand.objective else 0.0
    allowed = max(1, round(HEADROOM * capacity.requests_per_second * _QUEUED_SHARE * limit_s))
    return {"type": "Pods", "pods": {"metric": {"name": QUEUE_METRIC}, "target": {"type": "AverageValue", "averageValue": str(allowed)}}}


def adapter_rule() -> Object:
    """A rule for prometheus-adapter: seconds waited per second are the requests that wait, on average."""
    return {
        "seriesQuery": 'aweigh_queue_duration_seconds_sum{namespace!="",pod!=""}',
        "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
        "name": {"as": QUEUE_METRIC},
        "metricsQuery": "sum(rate(<<.Series>>{<<.LabelMatchers>>}[1m])) by (<<.GroupBy>>)",
    }


def disruption_budget(app: str) -> Object:
    """One pod at a time, so that a node can always be emptied, of one replica too."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {INSTANCE: app}}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(app, app), "spec": spec}


def network_policy(app: str, namespaces: Sequence[str]) -> Object:
    """In: pods of this namespace, and of those named. Out: nothing; a server needs nothing from elsewhere."""
    sources: list[Object] = [{"podSelector": {}}, *(_namespace(name) for name in namespaces)]
    spec = {
        "podSelector": {"matchLabels": {INSTANCE: app}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": sources, "ports": [{"port": "http", "protocol": "TCP"}]}],
        "egress": [],
    }
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(app, app), "spec": spec}


def monitoring_policy(app: str, namespace: str) -> Object:
    """Lets Prometheus in, wherever it runs; policies add up."""
    spec = {
        "podSelector": {"matchLabels": {INSTANCE: app}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [_namespace(namespace)], "ports": [{"port": "http", "protocol": "TCP"}]}],
    }
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(f"{app}-monitoring", app), "spec": spec}


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def service_monitor(app: str, keys_secret: str) -> Object:
    """For the Prometheus operator. Where API keys are asked for, the Secret's key `metrics` is the one that Prometheus sends."""
    endpoint: Object = {"port": "http", "path": "/metrics", "interval": "15s"}
    if keys_secret:
        endpoint["authorization"] = {"type": "Bearer", "credentials": {"name": keys_secret, "key": _METRICS_KEY}}
    spec = {"selector": {"matchLabels": {_NAME: app, INSTANCE: app}}, "endpoints": [endpoint]}
    return {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": metadata(app, app), "spec": spec}

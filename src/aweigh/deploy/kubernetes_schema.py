"""The shapes of the objects of Kubernetes that aweigh renders, strictly: an unknown field or a value of another type is told with its place.

Fields that aweigh does not render but a person may add are known here and taken as they are. Used by `manifest_checks.py` alone.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

_PortNumber = Annotated[int, Meta(ge=1, le=65535)]
_PortName = Annotated[str, Meta(pattern=r"^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$")]
_Label = Annotated[str, Meta(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]
_LabelKey = Annotated[str, Meta(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
_Labels = dict[_LabelKey, _Label]
_Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Quantity = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")] | int | float
_Seconds = Annotated[int, Meta(ge=1)]
_Count = Annotated[int, Meta(ge=0)]
_Positive = Annotated[int, Meta(ge=1)]
_Share = Annotated[str, Meta(pattern=r"^[0-9]{1,3}%$")] | _Count


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    pass


class Metadata(_Strict, frozen=True, kw_only=True):
    name: _Name
    namespace: _Name = ""
    labels: _Labels = {}
    annotations: dict[_LabelKey, str] = {}


class Selector(_Strict, frozen=True, kw_only=True):
    match_labels: _Labels = {}
    match_expressions: list[Any] = []


class HttpGet(_Strict, frozen=True, kw_only=True):
    port: _PortNumber | _PortName
    path: Annotated[str, Meta(pattern="^/")] = "/"
    host: str = ""
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    http_headers: list[Any] = []


class Probe(_Strict, frozen=True, kw_only=True):
    http_get: HttpGet | None = None
    exec: dict[str, list[str]] | None = None
    tcp_socket: Any = None
    grpc: Any = None
    initial_delay_seconds: _Count = 0
    period_seconds: _Seconds = 10
    timeout_seconds: _Seconds = 1
    success_threshold: _Positive = 1
    failure_threshold: _Positive = 3
    termination_grace_period_seconds: int | None = None


class ContainerPort(_Strict, frozen=True, kw_only=True):
    container_port: _PortNumber
    name: _PortName = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    host_port: _PortNumber | None = None
    host_ip: str = msgspec.field(default="", name="hostIP")


class Variable(_Strict, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")]
    value: str = ""
    value_from: Any = None


class Resources(_Strict, frozen=True, kw_only=True):
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}
    claims: list[Any] = []


class Mount(_Strict, frozen=True, kw_only=True):
    name: _Name
    mount_path: str
    read_only: bool = False
    sub_path: str = ""
    sub_path_expr: str = ""
    mount_propagation: str = ""
    recursive_read_only: str = ""


class Container(_Strict, frozen=True, kw_only=True):
    name: _Name
    image: str = ""
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    command: list[str] = []
    args: list[str] = []
    working_dir: str = ""
    ports: list[ContainerPort] = []
    env: list[Variable] = []
    env_from: list[Any] = []
    resources: Resources = Resources()
    resize_policy: list[Any] = []
    restart_policy: str = ""
    startup_probe: Probe | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    lifecycle: Any = None
    security_context: Any = None
    volume_mounts: list[Mount] = []
    volume_devices: list[Any] = []
    termination_message_path: str = ""
    termination_message_policy: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


class PodSpec(_Strict, frozen=True, kw_only=True):
    containers: Annotated[list[Container], Meta(min_length=1)]
    init_containers: list[Container] = []
    ephemeral_containers: list[Any] = []
    volumes: list[dict[str, Any]] = []
    termination_grace_period_seconds: _Count = 30
    active_deadline_seconds: int | None = None
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    automount_service_account_token: bool = True
    enable_service_links: bool = True
    service_account_name: str = ""
    service_account: str = ""
    security_context: Any = None
    image_pull_secrets: list[Any] = []
    affinity: Any = None
    tolerations: list[Any] = []
    node_selector: _Labels = {}
    node_name: str = ""
    topology_spread_constraints: list[Any] = []
    priority_class_name: str = ""
    priority: int | None = None
    preemption_policy: str = ""
    runtime_class_name: str = ""
    scheduler_name: str = ""
    scheduling_gates: list[Any] = []
    dns_policy: str = ""
    dns_config: Any = None
    host_aliases: list[Any] = []
    host_network: bool = False
    host_pid: bool = msgspec.field(default=False, name="hostPID")
    host_ipc: bool = msgspec.field(default=False, name="hostIPC")
    host_users: bool | None = None
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = msgspec.field(default=False, name="setHostnameAsFQDN")
    share_process_namespace: bool = False
    readiness_gates: list[Any] = []
    overhead: Any = None
    os: Any = None
    resource_claims: list[Any] = []
    resources: Any = None


class TemplateMetadata(_Strict, frozen=True, kw_only=True):
    labels: _Labels = {}
    annotations: dict[_LabelKey, str] = {}
    name: str = ""


class Template(_Strict, frozen=True, kw_only=True):
    metadata: TemplateMetadata
    spec: PodSpec


class RollingUpdate(_Strict, frozen=True, kw_only=True):
    max_surge: _Share = "25%"
    max_unavailable: _Share = "25%"


class Strategy(_Strict, frozen=True, kw_only=True):
    type: Literal["RollingUpdate", "Recreate"] = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(_Strict, frozen=True, kw_only=True):
    selector: Selector
    template: Template
    replicas: _Count | None = None
    strategy: Strategy = Strategy()
    min_ready_seconds: _Count = 0
    revision_history_limit: _Count = 10
    progress_deadline_seconds: _Seconds = 600
    paused: bool = False


class Deployment(_Strict, frozen=True, kw_only=True):
    api_version: Literal["apps/v1"]
    kind: Literal["Deployment"]
    metadata: Metadata
    spec: DeploymentSpec


class Pod(_Strict, frozen=True, kw_only=True):
    api_version: Literal["v1"]
    kind: Literal["Pod"]
    metadata: Metadata
    spec: PodSpec


class ServicePort(_Strict, frozen=True, kw_only=True):
    port: _PortNumber
    name: _PortName = ""
    target_port: _PortNumber | _PortName | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    node_port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    app_protocol: str = ""


class ServiceSpec(_Strict, frozen=True, kw_only=True):
    ports: Annotated[list[ServicePort], Meta(min_length=1)]
    selector: _Labels = {}
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    external_name: str = ""
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""
    ip_families: list[str] = []
    ip_family_policy: str = ""
    load_balancer_class: str = ""
    load_balancer_source_ranges: list[str] = []
    publish_not_ready_addresses: bool = False
    session_affinity: str = ""
    session_affinity_config: Any = None
    traffic_distribution: str = ""


class Service(_Strict, frozen=True, kw_only=True):
    api_version: Literal["v1"]
    kind: Literal["Service"]
    metadata: Metadata
    spec: ServiceSpec


class ScaledObject(_Strict, frozen=True, kw_only=True):
    api_version: str
    kind: str
    name: _Name


class AutoscalerSpec(_Strict, frozen=True, kw_only=True):
    scale_target_ref: ScaledObject
    max_replicas: _Positive
    min_replicas: _Positive = 1
    metrics: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    behavior: Any = None


class Autoscaler(_Strict, frozen=True, kw_only=True):
    api_version: Literal["autoscaling/v2"]
    kind: Literal["HorizontalPodAutoscaler"]
    metadata: Metadata
    spec: AutoscalerSpec


class BudgetSpec(_Strict, frozen=True, kw_only=True):
    selector: Selector
    max_unavailable: _Share | None = None
    min_available: _Share | None = None
    unhealthy_pod_eviction_policy: str = ""


class Budget(_Strict, frozen=True, kw_only=True):
    api_version: Literal["policy/v1"]
    kind: Literal["PodDisruptionBudget"]
    metadata: Metadata
    spec: BudgetSpec


class PolicyPort(_Strict, frozen=True, kw_only=True):
    port: _PortNumber | _PortName
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    end_port: _PortNumber | None = None


class Ingress(_Strict, frozen=True, kw_only=True):
    from_: list[dict[str, Any]] = msgspec.field(default_factory=list, name="from")
    ports: list[PolicyPort] = []


class PolicySpec(_Strict, frozen=True, kw_only=True):
    pod_selector: Selector
    policy_types: list[Literal["Ingress", "Egress"]] = []
    ingress: list[Ingress] = []
    egress: list[Any] = []


class NetworkPolicy(_Strict, frozen=True, kw_only=True):
    api_version: Literal["networking.k8s.io/v1"]
    kind: Literal["NetworkPolicy"]
    metadata: Metadata
    spec: PolicySpec


class Endpoint(_Strict, frozen=True, kw_only=True):
    port: str
    path: str = "/metrics"
    interval: str = "30s"
    scheme: str = "http"
    authorization: Any = None
    scrape_timeout: str = ""
    tls_config: Any = None
    relabelings: list[Any] = []
    metric_relabelings: list[Any] = []


class MonitorSpec(_Strict, frozen=True, kw_only=True):
    selector: Selector
    endpoints: Annotated[list[Endpoint], Meta(min_length=1)]
    namespace_selector: Any = None
    job_label: str = ""
    target_labels: list[str] = []
    pod_target_labels: list[str] = []


class Monitor(_Strict, frozen=True, kw_only=True):
    api_version: Literal["monitoring.coreos.com/v1"]
    kind: Literal["ServiceMonitor"]
    metadata: Metadata
    spec: MonitorSpec


Known = Deployment | Pod | Service | Autoscaler | Budget | NetworkPolicy | Monitor
KINDS: Final[dict[str, type[Known]]] = {
    "Deployment": Deployment,
    "Pod": Pod,
    "Service": Service,
    "HorizontalPodAutoscaler": Autoscaler,
    "PodDisruptionBudget": Budget,
    "NetworkPolicy": NetworkPolicy,
    "ServiceMonitor": Monitor,
}

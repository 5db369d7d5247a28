"""Kubernetes: a Deployment and what stands around it, as a kustomize base with overlays, applied by `kubectl`.

`rolling` replaces pods one by one; `blue-green` brings the new ones up beside the old ones and then turns the Service; `canary` adds a share of new pods.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, cast

import msgspec
from msgspec import Meta

from aweigh.core.errors import InvalidInput
from aweigh.deploy import kubernetes_objects as objects
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import container_of
from aweigh.deploy.kubectl import Kubectl, checked_by_programs, kustomized
from aweigh.deploy.kubernetes_objects import INSTANCE, Object, Workload
from aweigh.deploy.manifest_checks import check_manifests
from aweigh.deploy.option_types import Context, Namespace, Namespaces, Secret
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.yaml_text import yaml_text

_KINDS: Final = "deployments,services,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies"
_OF_TRACKS: Final = "deployments,horizontalpodautoscalers"


class KubernetesOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    namespace: Namespace = "default"
    context: Context = ""
    """Of kubectl's configuration; empty: its current one."""
    strategy: Literal["rolling", "blue-green", "canary"] = "rolling"
    canary_percent: Annotated[int, Meta(ge=1, le=90)] = 10
    overlay: Literal["production", "staging"] = "production"
    """The one that --apply applies; both are rendered."""
    monitoring: bool = False
    """Whether `production` takes the component with ServiceMonitor and queue metric, which needs the Prometheus operator and prometheus-adapter."""
    monitoring_namespace: Namespace = "monitoring"
    from_namespaces: Namespaces = ""
    """Whose pods may ask, beside those of its own namespace: 'ingress-nginx', several separated by commas."""
    api_keys_secret: Secret = ""
    """A Secret with the keys `keys` (lines of API keys) and, for Prometheus, `metrics`; empty: the NetworkPolicy alone says who may ask."""
    cpu_limit: bool = False
    drain_delay_s: Annotated[float, Meta(ge=0, le=300)] = 5.0
    """How long a pod that ends goes on answering while proxies take notice."""


class Kubernetes:
    """The target."""

    name: ClassVar[str] = "kubernetes"
    options: ClassVar[type[msgspec.Struct]] = KubernetesOptions
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGE})

    def render(self, job: DeployJob) -> Rendered:
        plan = _plan(job)
        files = {name: yaml_text(data, said=plan.said) for name, data in plan.files().items()}
        costs = cost_lines(self.name, job, memory_mib=plan.workload.container.memory_mib)
        return Rendered(files=files, does=plan.does(), costs=costs, commands=plan.commands(), notes=plan.notes())

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        findings: list[Finding] = []
        documents = [each for part in _folders(folder) for each in kustomized(folder, part, findings)]
        findings += check_manifests(documents)
        if not any(finding.fatal for finding in findings):
            findings += checked_by_programs(folder, [place for place, _ in documents], _plan(job).overlays(), Commands())
        return findings

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        plan = _plan(job)
        monitoring = {"monitoring": "yes"} if plan.options.monitoring else {}
        return {"name": job.name, "namespace": plan.namespace, "context": plan.options.context, **monitoring}

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        plan = _plan(job)
        options, workload = plan.options, plan.workload
        kubectl = Kubectl(plan.namespace, options.context, commands, folder)
        kubectl.run("apply", "-k", f"overlays/{options.overlay}")
        kubectl.rolled_out(workload.name, 2 * workload.container.start_limit_s)
        if options.strategy == "blue-green":
            kubectl.run("apply", "-k", "switch")
        if options.strategy != "canary":
            kubectl.delete(_OF_TRACKS, objects.other_tracks(workload))
        return Applied(facts=self.foresee(folder, job), address=f"http://{job.name}.{plan.namespace}.svc")

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        kubectl = Kubectl(facts["namespace"], facts.get("context", ""), commands, folder)
        meant = f"{INSTANCE}={facts['name']},app.kubernetes.io/managed-by=aweigh"
        kubectl.delete(_KINDS, meant)
        if facts.get("monitoring"):
            kubectl.delete("servicemonitors.monitoring.coreos.com", meant)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is rendered for one job."""

    job: DeployJob
    options: KubernetesOptions
    workload: Workload

    @property
    def namespace(self) -> str:
        staging = self.options.overlay == "staging"
        return f"{self.options.namespace}-staging" if staging else self.options.namespace

    @property
    def said(self) -> tuple[str, ...]:
        return (f"{self.job.package.reference} for Kubernetes, by aweigh", self.job.capacity.source)

    @property
    def scaled(self) -> bool:
        """Whether an autoscaler decides how many there are."""
        return self.job.scale.most > max(1, self.job.scale.least) and self.options.strategy != "canary"

    @property
    def replicas(self) -> int:
        least = max(1, self.job.scale.least)
        percent = self.options.canary_percent
        return least if self.options.strategy != "canary" else max(1, round(least * percent / (100 - percent)))

    def overlays(self) -> list[str]:
        """Folders that `kubectl apply -k` takes."""
        found = ["overlays/production"]
        if self.options.strategy != "canary":
            found.append("overlays/staging")
        return [*found, *(["switch"] if self.options.strategy == "blue-green" else [])]

    def files(self) -> dict[str, Object]:
        strategy = self.options.strategy
        files = _kustomization("base", self._base())
        files["overlays/production/kustomization.yaml"] = {
            **_KUSTOMIZATION,
            "namespace": self.options.namespace,
            "resources": ["../../base"],
            **({"components": ["../../components/monitoring"]} if self.options.monitoring and strategy != "canary" else {}),
        }
        if strategy == "canary":
            return files
        files |= self._staging() | self._monitoring()
        if strategy == "blue-green":
            turned = {"service.yaml": self._service(self.job.name)}
            files |= _kustomization("switch", turned, namespace=self.namespace)
        return files

    def _base(self) -> dict[str, Object]:
        app = self.job.name
        made = {"deployment.yaml": objects.deployment(self.workload, None if self.scaled else self.replicas)}
        if self.options.strategy == "canary":
            return made
        preview = self.options.strategy == "blue-green"
        made["service-preview.yaml" if preview else "service.yaml"] = self._service(f"{app}-preview" if preview else app)
        made["disruption-budget.yaml"] = objects.disruption_budget(app)
        made["network-policy.yaml"] = objects.network_policy(app, [name for name in self.options.from_namespaces.split(",") if name])
        if self.scaled:
            made["autoscaler.yaml"] = objects.autoscaler(self.workload, self.job.scale.least, self.job.scale.most)
        return made

    def _service(self, name: str) -> Object:
        """Of a rolling Deployment: its canary's pods too."""
        turned = self.options.strategy == "blue-green"
        return objects.service(name, self.job.name, self.workload.selector if turned else {INSTANCE: self.job.name})

    def _staging(self) -> dict[str, Object]:
        """One replica in a namespace of its own."""
        name = self.workload.name
        kustomization: Object = {
            **_KUSTOMIZATION,
            "namespace": f"{self.options.namespace}-staging",
            "resources": ["../../base"],
            "replicas": [{"name": name, "count": 1}],
        }
        files = {"overlays/staging/kustomization.yaml": kustomization}
        if self.scaled:
            kustomization["patches"] = [{"path": "no-autoscaler.yaml"}]
            files["overlays/staging/no-autoscaler.yaml"] = {"$patch": "delete", **_scaler_of(name)}
        return files

    def _monitoring(self) -> dict[str, Object]:
        app = self.job.name
        made = {
            "service-monitor.yaml": objects.service_monitor(app, self.options.api_keys_secret),
            "network-policy.yaml": objects.monitoring_policy(app, self.options.monitoring_namespace),
        }
        files = _kustomization("components/monitoring", made, header=_COMPONENT)
        if self.scaled:
            metrics = [objects.cpu_metric(), objects.queue_metric(self.job.capacity, self.job.demand)]
            files["components/monitoring/kustomization.yaml"]["patches"] = [{"path": "queue-metric.yaml"}]
            files["components/monitoring/queue-metric.yaml"] = {**_scaler_of(self.workload.name), "spec": {"metrics": metrics}}
            files["components/monitoring/adapter-rules.yaml"] = {"rules": [objects.adapter_rule()]}
        return files

    def does(self) -> list[str]:
        container, scale = self.workload.container, self.job.scale
        many = f"{max(1, scale.least)} to {scale.most} pods" if self.scaled else f"{self.replicas} {'pods' if self.replicas > 1 else 'pod'}"
        told = [f"Deployment {self.workload.name}: {many} of {container.model}, each with 1 core and {container.memory_mib} MiB"]
        match self.options.strategy:
            case "canary":
                stable = max(1, scale.least)
                share = 100 * self.replicas / (self.replicas + stable)
                told.append(f"the Service of {self.job.name} sends them {share:.0f} % of the requests, where it has {stable} stable pods")
            case "blue-green":
                told.append(
                    f"Service {self.job.name}-preview asks the new pods; once they are ready, Service {self.job.name} turns to them, and the old ones end"
                )
            case _:
                told.append(f"Service {self.job.name}: new pods replace old ones one by one, each once it is ready")
        if self.scaled:
            told.append("a HorizontalPodAutoscaler by CPU" + (" and by requests that wait" if self.options.monitoring else ""))
        if self.options.strategy != "canary":
            told.append("a PodDisruptionBudget of one pod, and a NetworkPolicy that lets nothing out and only its own namespace in")
        return told

    def commands(self) -> list[str]:
        at = f"kubectl apply -k overlays/{self.options.overlay}"
        wait = f"kubectl -n {self.namespace} rollout status deployment/{self.workload.name}"
        return [at, wait, *(["kubectl apply -k switch"] if self.options.strategy == "blue-green" else [])]

    def notes(self) -> list[str]:
        told = []
        if self.job.scale.least == 0:
            told.append(
                "one pod runs when nobody asks: a HorizontalPodAutoscaler does not go to 0 (the target kserve does, where Knative is)"
            )
        if not self.options.monitoring and self.options.strategy != "canary":
            told.append("ServiceMonitor and the queue metric lie in components/monitoring; --set monitoring=true takes them")
        if self.options.monitoring and self.scaled:
            told.append(
                "put components/monitoring/adapter-rules.yaml into prometheus-adapter's configuration; without it the autoscaler only adds pods"
            )
        return told


_KUSTOMIZATION: Final[Object] = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
_COMPONENT: Final[Object] = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}


def _kustomization(folder: str, made: Mapping[str, Object], *, header: Object = _KUSTOMIZATION, **more: str) -> dict[str, Object]:
    kustomization = {**header, **more, "resources": list(made)}
    return {f"{folder}/kustomization.yaml": kustomization, **{f"{folder}/{name}": data for name, data in made.items()}}


def _scaler_of(name: str) -> Object:
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}}


def _plan(job: DeployJob) -> _Plan:
    """Raises InvalidInput for options that do not go together."""
    options = cast("KubernetesOptions", job.options)
    if options.strategy == "canary" and options.overlay == "staging":
        raise InvalidInput("strategy=canary and overlay=staging do not go together: staging has one pod", hint="leave overlay out")
    container = container_of(job, drain_delay_s=options.drain_delay_s, keys=bool(options.api_keys_secret))
    track = {"rolling": "stable", "canary": "canary"}.get(options.strategy, "")
    if not track:
        track = hashlib.sha256(f"{container.image} {container.digest}".encode()).hexdigest()[:8]
    name = job.name if track == "stable" else f"{job.name}-{track}"
    workload = Workload(
        name=name, app=job.name, track=track, container=container, cpu_limit=options.cpu_limit, keys_secret=options.api_keys_secret
    )
    return _Plan(job=job, options=options, workload=workload)


def _folders(folder: Path) -> list[str]:
    known = ("base", "components/monitoring", "switch", "overlays/production", "overlays/staging")
    return [each for each in known if (folder / each / "kustomization.yaml").is_file()] or ["base"]

"""KServe: a ServingRuntime that starts aweigh, and an InferenceService that gives it a model out of an image (`oci://`), applied by `kubectl`.

The image of a server is both: KServe mounts its folder `/models`, which is a whole home, at `/mnt/models`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, cast

import msgspec
from msgspec import Meta

from aweigh.deploy import kserve_schema
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import container_of, image_address
from aweigh.deploy.kubectl import Kubectl, kustomized
from aweigh.deploy.kubernetes_objects import INSTANCE, Object, Workload, facts, metadata, pod_container
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.yaml_text import yaml_text

_Namespace = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
_Context = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.:@/-]{0,252})?$")]
_MOUNTED: Final = "/mnt/models"
_FORMAT: Final = "aweigh"
_KINDS: Final = "inferenceservices.serving.kserve.io,servingruntimes.serving.kserve.io"


class KserveOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    namespace: _Namespace = "default"
    context: _Context = ""
    mode: Literal["serverless", "standard"] = "serverless"
    """With Knative, which goes to 0 pods and splits requests; or Deployments alone."""
    canary_percent: Annotated[int, Meta(ge=0, le=100)] = 0
    """Of the requests, what the new revision gets; 0: all, at once. Serverless alone can."""
    runtime_image: str = ""
    """Of the server; empty: the model's own image, which holds one."""
    drain_delay_s: Annotated[float, Meta(ge=0, le=300)] = 5.0


class Kserve:
    """The target."""

    name: ClassVar[str] = "kserve"
    options: ClassVar[type[msgspec.Struct]] = KserveOptions
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGE})

    def render(self, job: DeployJob) -> Rendered:
        options = _options(job)
        workload = _workload(job, options)
        made = {"serving-runtime.yaml": _runtime(workload, job, options), "inference-service.yaml": _service(workload, job, options)}
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": options.namespace,
            "resources": list(made),
        }
        said = (f"{workload.container.model} for KServe, by aweigh", job.capacity.source)
        share = f"{options.canary_percent} % of the requests" if options.canary_percent else "every request"
        return Rendered(
            files={name: yaml_text(data, said=said) for name, data in {"kustomization.yaml": kustomization, **made}.items()},
            does=[
                f"InferenceService {job.name}: {job.scale.least} to {max(1, job.scale.most)} pods of {workload.container.model}",
                f"the new revision gets {share} once it is ready",
            ],
            costs=cost_lines(self.name, job, memory_mib=workload.container.memory_mib),
            commands=["kubectl apply -k ."],
            notes=[
                "KServe must be set up with modelcars (enableModelcar: true in inferenceservice-config), which mount models out of images"
            ],
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        findings: list[Finding] = []
        documents = kustomized(folder, ".", findings)
        return [*findings, *kserve_schema.check(documents)]

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        options = _options(job)
        kubectl = Kubectl(options.namespace, options.context, commands, folder)
        limit_s = 2 * _workload(job, options).container.start_limit_s
        kubectl.run("apply", "-k", ".")
        kubectl.run("wait", "--for=condition=Ready", f"inferenceservice/{job.name}", f"--timeout={limit_s}s", timeout_s=limit_s + 30)
        facts_ = {"name": job.name, "namespace": options.namespace, "context": options.context}
        address = kubectl.run("get", f"inferenceservice/{job.name}", "--output=jsonpath={.status.url}").strip()
        return Applied(facts=facts_, address=address)

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        kubectl = Kubectl(facts["namespace"], facts.get("context", ""), commands, folder)
        kubectl.delete(_KINDS, f"{INSTANCE}={facts['name']},app.kubernetes.io/managed-by=aweigh")


def _options(job: DeployJob) -> KserveOptions:
    return cast("KserveOptions", job.options)


def _workload(job: DeployJob, options: KserveOptions) -> Workload:
    container = container_of(job, drain_delay_s=options.drain_delay_s)
    return Workload(name=job.name, app=job.name, track="stable", container=container)


def _runtime(workload: Workload, job: DeployJob, options: KserveOptions) -> Object:
    """The server without a model: which one it serves is the InferenceService's to say."""
    server: dict[str, Any] = pod_container(workload, name="kserve-container")
    server["image"] = image_address(options.runtime_image or job.image)
    server["args"] = ["serve", str(job.package.reference)]
    own = {"AWEIGH_HOME": _MOUNTED, "AWEIGH_VARIANT": job.variant.name}
    server["env"] = [*server["env"], *({"name": key, "value": value} for key, value in own.items())]
    server["ports"] = [{key: value for key, value in server["ports"][0].items() if key != "name"}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        server[probe] = {**server[probe], "httpGet": {**server[probe]["httpGet"], "port": server["ports"][0]["containerPort"]}}
    spec = {
        "annotations": facts(workload.container),
        "supportedModelFormats": [{"name": _FORMAT, "version": "1", "autoSelect": False}],
        "protocolVersions": ["v2", "grpc-v2"],
        "multiModel": False,
        "containers": [server],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }
    about = metadata(workload.name, workload.app)
    return {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": about, "spec": spec}


def _service(workload: Workload, job: DeployJob, options: KserveOptions) -> Object:
    container = workload.container
    memory = f"{container.memory_mib}Mi"
    predictor: Object = {
        "minReplicas": job.scale.least if options.mode == "serverless" else max(1, job.scale.least),
        "maxReplicas": max(1, job.scale.most),
        **(
            {"scaleMetric": "concurrency", "scaleTarget": job.capacity.concurrency}
            if options.mode == "serverless"
            else {"scaleMetric": "cpu", "scaleTarget": 70}
        ),
        **({"canaryTrafficPercent": options.canary_percent} if options.canary_percent else {}),
        "terminationGracePeriodSeconds": container.grace_s,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "model": {
            "modelFormat": {"name": _FORMAT, "version": "1"},
            "runtime": workload.name,
            "protocolVersion": "v2",
            "storageUri": f"oci://{container.image}",
            "resources": {"requests": {"cpu": "1", "memory": memory}, "limits": {"memory": memory}},
        },
    }
    mode = {"serverless": "Serverless", "standard": "RawDeployment"}[options.mode]
    about = metadata(workload.name, workload.app, annotations={"serving.kserve.io/deploymentMode": mode, **facts(container)})
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": about, "spec": {"predictor": predictor}}

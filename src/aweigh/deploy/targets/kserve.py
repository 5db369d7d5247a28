"""KServe: an InferenceService of the model's own image; or one that has the model out of another image (`oci://`), with the ServingRuntime that serves it.

Applied by `kubectl`. Where the model is an image of its own, KServe mounts its folder `/models`, which is a whole home, at `/mnt/models`.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, cast

import msgspec
from msgspec import Meta

from aweigh.core.errors import InvalidInput
from aweigh.deploy import kserve_schema
from aweigh.deploy.commands import Commands
from aweigh.deploy.container import container_of, image_address
from aweigh.deploy.kubectl import Kubectl, kustomized
from aweigh.deploy.kubernetes_objects import INSTANCE, Object, Workload, facts, metadata, pod_container
from aweigh.deploy.option_types import Context, Namespace
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.yaml_text import yaml_text

_MOUNTED: Final = "/mnt/models"
_FORMAT: Final = "aweigh"
_SCRATCH: Final[Object] = {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}
_KINDS: Final = "inferenceservices.serving.kserve.io,servingruntimes.serving.kserve.io"


class KserveOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    namespace: Namespace = "default"
    context: Context = ""
    mode: Literal["serverless", "standard"] = "serverless"
    """With Knative, which goes to 0 pods and splits requests; or Deployments alone."""
    canary_percent: Annotated[int, Meta(ge=0, le=100)] = 0
    """Of the requests, what the new revision gets; 0: all, at once. Serverless alone can."""
    model: Literal["inside", "modelcar", "volume"] = "inside"
    """Where a pod has the model from: the image that serves it; an image beside it, as KServe's modelcar; or one that Kubernetes mounts as a volume."""
    model_image: str = ""
    """For `modelcar`: one with the folder /models, a shell, and no entrypoint. For `volume` the model's own image does."""
    runtime_image: str = ""
    """Of the server, where the model is not inside; empty: the model's own image, which holds one."""
    drain_delay_s: Annotated[float, Meta(ge=0, le=300)] = 5.0


class Kserve:
    """The target."""

    name: ClassVar[str] = "kserve"
    options: ClassVar[type[msgspec.Struct]] = KserveOptions
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGE})

    def render(self, job: DeployJob) -> Rendered:
        options = _options(job)
        workload = _workload(job, options)
        made = {"inference-service.yaml": _service(workload, job, options)}
        if options.model != "inside":
            made = {"serving-runtime.yaml": _runtime(workload, job, options), **made}
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
            notes=[_NOTES[options.model]],
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


_NOTES: Final = {
    "inside": "KServe starts the model's own image: nothing has to be set up for it",
    "modelcar": "KServe must allow modelcars (enableModelcar: true in inferenceservice-config); the model image must have a shell and no entrypoint",
    "volume": "needs KServe 0.20 with enableModelcar or ociModelMode set, and Kubernetes 1.33 with ImageVolume, which 1.35 has by itself",
}


def _options(job: DeployJob) -> KserveOptions:
    """Raises InvalidInput for options that do not go together."""
    options = cast("KserveOptions", job.options)
    if options.model == "inside" and (options.model_image or options.runtime_image):
        given = "model_image" if options.model_image else "runtime_image"
        raise InvalidInput(f"{given} says nothing where the model is inside the image", hint="add --set model=modelcar, or model=volume")
    if options.model == "modelcar" and not options.model_image:
        raise InvalidInput(
            "model=modelcar needs the address of a model image: an image of the server has an entrypoint, which KServe's modelcar does not expect",
            hint="make one ('FROM busybox', then 'COPY --from=IMAGE /models /models') and say --set model_image=ADDRESS, or leave model out",
        )
    return options


def _workload(job: DeployJob, options: KserveOptions) -> Workload:
    container = container_of(job, drain_delay_s=options.drain_delay_s)
    return Workload(name=job.name, app=job.name, track="stable", container=container)


def _server(workload: Workload, options: KserveOptions, more: Mapping[str, str]) -> dict[str, Any]:
    """Ports without a name: Knative takes its own alone. It says PORT itself, and refuses who says it too."""
    server: dict[str, Any] = pod_container(workload, name="kserve-container")
    environment = {**{each["name"]: each["value"] for each in server["env"]}, **more}
    if options.mode == "serverless":
        environment.pop("PORT")
    server["env"] = [{"name": key, "value": value} for key, value in environment.items()]
    server["ports"] = [{key: value for key, value in server["ports"][0].items() if key != "name"}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        server[probe] = {**server[probe], "httpGet": {**server[probe]["httpGet"], "port": server["ports"][0]["containerPort"]}}
    return server


def _runtime(workload: Workload, job: DeployJob, options: KserveOptions) -> Object:
    """The server without a model: which one it serves is the InferenceService's to say."""
    server = _server(workload, options, {"AWEIGH_HOME": _MOUNTED, "AWEIGH_VARIANT": job.variant.name})
    server["image"] = image_address(options.runtime_image or job.image)
    server["args"] = ["serve", str(job.package.reference)]
    spec = {
        "annotations": facts(workload.container),
        "supportedModelFormats": [{"name": _FORMAT, "version": "1", "autoSelect": False}],
        "protocolVersions": ["v2", "grpc-v2"],
        "multiModel": False,
        "containers": [server],
        "volumes": [_SCRATCH],
    }
    about = metadata(workload.name, workload.app)
    return {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": about, "spec": spec}


def _service(workload: Workload, job: DeployJob, options: KserveOptions) -> Object:
    container = workload.container
    serverless = options.mode == "serverless"
    predictor: Object = {
        "minReplicas": job.scale.least if serverless else max(1, job.scale.least),
        "maxReplicas": max(1, job.scale.most),
        "scaleMetric": "concurrency" if serverless else "cpu",
        "scaleTarget": job.capacity.concurrency if serverless else 70,
        **({"canaryTrafficPercent": options.canary_percent} if options.canary_percent else {}),
        **_endings(job, container.grace_s, serverless),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **_served(workload, job, options),
    }
    mode = "Serverless" if serverless else "RawDeployment"
    about = metadata(workload.name, workload.app, annotations={"serving.kserve.io/deploymentMode": mode, **facts(container)})
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": about, "spec": {"predictor": predictor}}


def _endings(job: DeployJob, grace_s: int, serverless: bool) -> Object:
    """Knative refuses a pod's own grace period: it gives a pod that ends as long as a request may take."""
    if not serverless:
        return {"terminationGracePeriodSeconds": grace_s}
    return {"timeout": max(grace_s, math.ceil(job.settings.request_timeout_s))}


def _served(workload: Workload, job: DeployJob, options: KserveOptions) -> Object:
    """The model's own image; or a model out of an image, which the ServingRuntime serves."""
    if options.model == "inside":
        server = _server(workload, options, {"PROTOCOL": "v2"})
        return {"containers": [server], "volumes": [_SCRATCH]}
    memory = f"{workload.container.memory_mib}Mi"
    scheme = {"modelcar": "oci", "volume": "oci+native"}[options.model]
    return {
        "model": {
            "modelFormat": {"name": _FORMAT, "version": "1"},
            "runtime": workload.name,
            "protocolVersion": "v2",
            "storageUri": f"{scheme}://{image_address(options.model_image or job.image)}",
            "resources": {"requests": {"cpu": "1", "memory": memory}, "limits": {"memory": memory}},
        }
    }

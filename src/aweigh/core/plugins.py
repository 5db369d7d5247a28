"""The plug-in table: what aweigh can use, by kind and name, readable without importing any of it.

A row is a module path, an attribute, the extra that installs its library and the library itself. Entry points of the group
`aweigh.<kind>` add rows; a name that is taken raises. What is not proven here says why in `experimental`.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import os
import sys
from typing import Final

from aweigh.core.errors import Conflict, MissingLibrary, Unsupported
from aweigh.core.nearest import nearest


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One row: `kind` and `name` find it, `module:attribute` loads it."""

    kind: str
    name: str
    target: str
    libraries: tuple[str, ...] = ()
    """Import names that must be there."""
    extra: str = ""
    """The extra of aweigh that installs them."""
    environment: str = ""
    """The environment that aweigh makes where they are not there; none where it would not."""
    apart: str = ""
    """Of a framework that cannot live beside aweigh's own libraries: the environment in which it is asked and converts."""
    experimental: str = ""
    """Why it is not proven, if it is not."""
    runs_code: bool = False
    """Of a runtime: whether loading its files may run code that lies in them."""
    system: str = ""
    """Of a runtime: the one system that it runs on, as `sys.platform` names it; "" where there is more than one."""

    @property
    def install(self) -> str:
        """What pip is to install for it."""
        return f"aweigh[{self.extra}]" if self.extra else " ".join(self.libraries)

    def missing(self) -> tuple[str, ...]:
        """The libraries that are not installed; found without importing them."""
        return tuple(library for library in self.libraries if importlib.util.find_spec(library) is None)


_NOT_RUN: Final = {
    "cpu": "", "openvino": "", "cuda": "an NVIDIA GPU", "tensorrt": "an NVIDIA GPU", "qnn": "a Qualcomm NPU", "coreml": "macOS", "vitisai": "an AMD NPU or FPGA",
    "directml": "Windows", "migraphx": "an AMD GPU",
}  # fmt: skip
"""Execution providers of ONNX Runtime, and what they were not run on here."""
_PROVIDERS: Final = tuple(
    Plugin(
        kind="provider",
        name=name,
        target=f"aweigh.runtimes.onnxruntime_providers:{name.upper()}",
        experimental=f"not run on {place}: the golden replay on yours decides" if place else "",
    )
    for name, place in _NOT_RUN.items()
)
_KERAS: Final = ("keras", "tensorflow", "tf2onnx", "onnx", "h5py")
_TORCH: Final = ("torch", "onnx", "onnxscript", "safetensors")
_PASSES: Final = tuple(
    Plugin(
        kind="pass",
        name=name,
        target=f"aweigh.optimization.passes.{target}",
        libraries=libraries,
        extra=environment,
        environment=environment,
    )
    for name, target, libraries, environment in (
        ("onnxslim", "onnxslim:Onnxslim", ("onnx", "onnxslim"), "optimize"),
        ("transformer-fusion", "transformer_fusion:TransformerFusion", ("onnx", "onnxslim"), "optimize"),
        ("ort-format", "ort_format:OrtFormat", ("onnx", "onnxslim"), "optimize"),
        ("onnxruntime-session", "onnxruntime_session:OnnxRuntimeSession", (), ""),
        ("onnxruntime-level", "onnxruntime_level:OnnxRuntimeLevel", (), ""),
        ("cuda", "cuda:Cuda", (), ""),  # what is installed here, because only one ONNX Runtime can be
        ("openvino", "openvino:OpenVino", ("openvino",), "optimize"),
        ("openvino-bf16", "openvino_bf16:OpenVinoBf16", ("openvino",), "optimize"),
        ("tensorrt", "tensorrt:TensorRt", (), ""),
        ("int8-dynamic", "int8_dynamic:Int8Dynamic", ("onnx", "sympy"), "optimize"),
        ("nncf-weights", "nncf_weights:NncfWeights", ("openvino", "nncf"), "optimize"),
        ("int8-static", "int8_static:Int8Static", ("onnx", "sympy"), "optimize"),
        ("fp16", "fp16:Fp16", ("onnx", "sympy"), "optimize"),
        ("bf16", "bf16:Bf16", ("onnx", "sympy"), "optimize"),
        ("int4-weights", "int4_weights:Int4Weights", ("onnx", "sympy"), "optimize"),
        ("nncf-int8", "nncf_int8:NncfInt8", ("openvino", "nncf"), "optimize"),
        ("nncf-int8-accuracy", "nncf_int8_accuracy:NncfInt8Accuracy", ("openvino", "nncf"), "optimize"),
        ("native-trees", "native_trees:NativeTrees", ("xgboost", "lightgbm", "catboost", "skl2onnx"), "trees"),
        ("lleaves", "lleaves:Lleaves", ("lleaves",), "lleaves"),
        ("litert", "litert:Litert", ("tensorflow", "ai_edge_litert"), "tensorflow"),
        ("litert-dynamic", "litert:LitertDynamic", ("tensorflow", "ai_edge_litert"), "tensorflow"),
        ("litert-int8", "litert:LitertInt8", ("tensorflow", "ai_edge_litert"), "tensorflow"),
        ("litert-fp16", "litert:LitertFp16", ("tensorflow", "ai_edge_litert"), "tensorflow"),
        ("executorch", "executorch:Executorch", ("executorch", "torch"), "executorch"),
        ("executorch-int8", "executorch:ExecutorchInt8", ("executorch", "torch"), "executorch"),
        ("coreml", "coreml:CoreMl", ("coremltools", "torch"), "coreml"),
        ("prune-structured", "prune_structured:PruneStructured", _TORCH, "train"),
        ("distil", "distil:Distil", _TORCH, "train"),
        ("qat", "qat:Qat", (*_TORCH, "torchao"), "train"),
        ("prune-unstructured", "prune_unstructured:PruneUnstructured", _TORCH, "train"),
        ("cluster-weights", "cluster_weights:ClusterWeights", _TORCH, "train"),
        ("keras-qat", "keras_qat:KerasQat", _KERAS, "tensorflow"),
        ("keras-cluster", "keras_cluster:KerasCluster", _KERAS, "tensorflow"),
        ("prune-2-4", "prune_two_four:PruneTwoFour", _TORCH, "train"),
    )
)
"""In the order in which a search tries them within their kind."""
_YAML: Final = ("yaml",)
_TARGETS: Final = tuple(
    Plugin(
        kind="target",
        name=name,
        target=f"aweigh.deploy.targets.{target}",
        libraries=libraries,
        extra="deploy" if libraries else "",
        experimental=unproven,
    )
    for name, target, libraries, unproven in (
        ("docker", "docker:Docker", (), ""),
        ("compose", "compose:Compose", _YAML, ""),
        ("podman", "podman:Podman", _YAML, ""),
        ("systemd", "systemd:Systemd", (), ""),
        ("cloud-init", "cloud_init:CloudInit", _YAML, ""),
        ("runner", "runner:Runner", (), ""),
        ("kubernetes", "kubernetes:Kubernetes", _YAML, ""),
        ("kserve", "kserve:Kserve", _YAML, ""),
        ("ray", "ray:Ray", _YAML, ""),
        ("cloud-run", "cloud_run:CloudRun", _YAML, ""),
        ("cloud-functions", "cloud_functions:CloudFunctions", _YAML, ""),
        ("lambda", "aws_lambda:Lambda", _YAML, ""),
        ("sagemaker", "sagemaker:SageMaker", _YAML, ""),
        ("vertex", "vertex:Vertex", _YAML, ""),
        ("azureml", "azureml:AzureMl", _YAML, "its scoring script was run by Azure's own server; the client 'az' was not run here"),
        ("container-apps", "container_apps:ContainerApps", _YAML, "the client 'az' was not run here"),
        ("triton", "triton:Triton", (), "read by Triton's own message; its server's ONNX, PyTorch and OpenVINO backends were not run here"),
        ("mlflow", "mlflow:Mlflow", _YAML, ""),
        ("tfserving", "tfserving:TfServing", (), "TensorFlow reads and answers its folder; the server, to be had in its container alone, was not run"),
        ("torchserve", "torchserve:TorchServe", (), "its archive is read as TorchServe reads it and its handler is run; the server itself was not run here"),
    )
)  # fmt: skip
"""One machine first, then clusters, clouds and other model servers."""
_BUILT_IN: Final = (
    *_TARGETS,
    Plugin(kind="runtime", name="onnxruntime", target="aweigh.runtimes.onnxruntime:OnnxRuntime", libraries=("onnxruntime",)),
    Plugin(
        kind="runtime",
        name="sklearn",
        target="aweigh.runtimes.sklearn:SklearnRuntime",
        libraries=("sklearn", "joblib"),
        extra="sklearn",
        environment="sklearn",
        runs_code=True,
    ),
    Plugin(
        kind="runtime",
        name="xgboost",
        target="aweigh.runtimes.xgboost:XgboostRuntime",
        libraries=("xgboost",),
        extra="xgboost",
        environment="trees",
    ),
    Plugin(
        kind="runtime",
        name="lightgbm",
        target="aweigh.runtimes.lightgbm:LightgbmRuntime",
        libraries=("lightgbm",),
        extra="lightgbm",
        environment="trees",
    ),
    Plugin(
        kind="runtime",
        name="lleaves",
        target="aweigh.runtimes.lleaves:LleavesRuntime",
        libraries=("lleaves",),
        extra="lleaves",
        environment="lleaves",
    ),
    Plugin(
        kind="runtime",
        name="catboost",
        target="aweigh.runtimes.catboost:CatboostRuntime",
        libraries=("catboost",),
        extra="catboost",
        environment="trees",
    ),
    Plugin(
        kind="runtime",
        name="jax",
        target="aweigh.runtimes.jax:JaxRuntime",
        libraries=("jax",),
        extra="jax",
        environment="jax",
        runs_code=True,
    ),
    Plugin(
        kind="runtime",
        name="reference",
        target="aweigh.runtimes.reference:ReferenceRuntime",
        libraries=("onnx",),
        extra="pack",
        environment="pack",
    ),
    Plugin(
        kind="runtime",
        name="openvino",
        target="aweigh.runtimes.openvino:OpenVinoRuntime",
        libraries=("openvino",),
        extra="openvino",
        environment="openvino",
    ),
    Plugin(
        kind="runtime", name="torch", target="aweigh.runtimes.torch:TorchRuntime", libraries=("torch",), extra="torch", environment="torch"
    ),
    Plugin(
        kind="runtime",
        name="torch-eager",
        target="aweigh.runtimes.torch:TorchEagerRuntime",
        libraries=("torch", "safetensors"),
        extra="torch",
        environment="torch",
        runs_code=True,
    ),
    Plugin(
        kind="runtime",
        name="tensorflow",
        target="aweigh.runtimes.tensorflow:TensorflowRuntime",
        libraries=("tensorflow",),
        extra="tensorflow",
        environment="tensorflow",
    ),
    Plugin(
        kind="runtime",
        name="litert",
        target="aweigh.runtimes.litert:LitertRuntime",
        libraries=("ai_edge_litert",),
        extra="litert",
        environment="litert",
    ),
    Plugin(
        kind="runtime",
        name="executorch",
        target="aweigh.runtimes.executorch:ExecutorchRuntime",
        libraries=("executorch", "torch"),
        extra="executorch",
        environment="executorch",
    ),
    Plugin(
        kind="runtime",
        name="coreml",
        target="aweigh.runtimes.coreml:CoreMlRuntime",
        libraries=("coremltools",),
        extra="coreml",
        environment="coreml",
        system="darwin",
        experimental="predicts on macOS alone, where it was not run: the golden replay on yours decides",
    ),
    Plugin(kind="source-form", name="format", target="aweigh.packing.source_forms:format_of"),
    Plugin(kind="source-form", name="write", target="aweigh.packing.source_forms:write_source"),
    Plugin(
        kind="delegate",
        name="edgetpu",
        target="aweigh.runtimes.litert_delegates:edgetpu",
        libraries=("ai_edge_litert",),
        extra="litert",
        experimental="not run on an Edge TPU",
    ),
    Plugin(kind="runtime", name="null", target="aweigh.runtimes.null:NullRuntime"),
    Plugin(kind="runtime", name="pipeline", target="aweigh.runtimes.pipeline:PipelineRuntime"),
    Plugin(kind="runtime", name="python", target="aweigh.runtimes.python:PythonRuntime", runs_code=True),
    Plugin(
        kind="framework",
        name="python",
        target="aweigh.packing.frameworks.python:PythonFramework",
        libraries=("onnx", "pandas"),
        extra="pack",
        environment="pack",
    ),
    Plugin(kind="runtime", name="function", target="aweigh.runtimes.function:FunctionRuntime", runs_code=True),
    Plugin(
        kind="image-output", name="dockerfile", target="aweigh.deploy.images.dockerfile:docker_folder", libraries=("yaml",), extra="deploy"
    ),
    Plugin(kind="signer", name="ecdsa", target="aweigh.deploy.images.signature:sign", libraries=("cryptography",), extra="sign"),
    Plugin(kind="step", name="text", target="aweigh.runtimes.text:around", libraries=("tokenizers",), extra="text"),
    Plugin(kind="step", name="image", target="aweigh.runtimes.images:around", libraries=("PIL",), extra="image"),
    Plugin(kind="step", name="sound", target="aweigh.runtimes.sounds:around"),
    Plugin(
        kind="framework",
        name="onnx",
        target="aweigh.packing.frameworks.onnx:OnnxFramework",
        libraries=("onnx", "pandas"),
        extra="pack",
        environment="pack",
    ),
    Plugin(
        kind="framework",
        name="xgboost",
        target="aweigh.packing.frameworks.xgboost:XgboostFramework",
        libraries=("xgboost", "skl2onnx"),
        extra="xgboost",
        environment="trees",
    ),
    Plugin(
        kind="framework",
        name="lightgbm",
        target="aweigh.packing.frameworks.lightgbm:LightgbmFramework",
        libraries=("lightgbm", "skl2onnx"),
        extra="lightgbm",
        environment="trees",
    ),
    Plugin(
        kind="framework",
        name="catboost",
        target="aweigh.packing.frameworks.catboost:CatboostFramework",
        libraries=("catboost", "skl2onnx"),
        extra="catboost",
        environment="trees",
    ),
    Plugin(
        kind="framework",
        name="torch",
        target="aweigh.packing.frameworks.torch:TorchFramework",
        libraries=("torch", "onnxscript", "onnx", "pandas", "safetensors"),
        extra="torch",
        environment="torch",
    ),
    Plugin(
        kind="framework",
        name="sklearn",
        target="aweigh.packing.frameworks.sklearn:SklearnFramework",
        libraries=("sklearn", "skl2onnx"),
        extra="sklearn",
        environment="sklearn",
    ),
    Plugin(
        kind="framework",
        name="mxnet",
        target="aweigh.packing.frameworks.mxnet:MxnetFramework",
        libraries=("onnx", "pandas"),
        extra="pack",
        environment="pack",
        apart="mxnet",
    ),
    Plugin(
        kind="framework",
        name="huggingface",
        target="aweigh.packing.frameworks.huggingface:HuggingFaceFramework",
        libraries=("torch", "transformers", "onnx", "onnxscript", "pandas"),
        extra="huggingface",
        environment="huggingface",
    ),
    Plugin(
        kind="framework",
        name="keras",
        target="aweigh.packing.frameworks.keras:KerasFramework",
        libraries=("keras", "tensorflow", "tf2onnx", "h5py"),
        extra="tensorflow",
        environment="tensorflow",
    ),
    Plugin(
        kind="framework",
        name="savedmodel",
        target="aweigh.packing.frameworks.savedmodel:SavedModelFramework",
        libraries=("tensorflow", "tf2onnx"),
        extra="tensorflow",
        environment="tensorflow",
    ),
    Plugin(
        kind="framework",
        name="tflite",
        target="aweigh.packing.frameworks.tflite:TfliteFramework",
        libraries=("ai_edge_litert", "tensorflow", "tf2onnx"),
        extra="tensorflow",
        environment="tensorflow",
    ),
    Plugin(kind="judge", name="keras", target="aweigh.packing.frameworks.keras_judge:judge"),
    Plugin(kind="judge", name="huggingface", target="aweigh.packing.frameworks.huggingface_folder:judge"),
    Plugin(kind="judge", name="torch", target="aweigh.packing.frameworks.torch_judge:judge"),
    Plugin(kind="judge", name="mxnet", target="aweigh.packing.frameworks.mxnet_files:judge"),
    Plugin(kind="judge", name="savedmodel", target="aweigh.packing.frameworks.savedmodel_judge:judge"),
    Plugin(kind="judge", name="tflite", target="aweigh.packing.frameworks.tflite_judge:judge"),
    Plugin(
        kind="framework",
        name="jax",
        target="aweigh.packing.frameworks.jax:JaxFramework",
        libraries=("jax", "flax", "jax2onnx"),
        extra="jax",
        environment="jax",
    ),
    *_PASSES,
    *_PROVIDERS,
    Plugin(kind="dialect", name="vertex", target="aweigh.serve.dialects.vertex:Vertex"),  # first: its paths are chosen by whoever deploys
    Plugin(kind="dialect", name="open-inference-rest", target="aweigh.serve.dialects.open_inference_rest:OpenInferenceRest"),
    Plugin(kind="dialect", name="open-inference-grpc", target="aweigh.serve.dialects.open_inference_grpc:OpenInferenceGrpc"),
    Plugin(kind="dialect", name="predict", target="aweigh.serve.dialects.predict:Predict"),
    Plugin(kind="dialect", name="sagemaker", target="aweigh.serve.dialects.sagemaker:SageMaker"),
    Plugin(kind="dialect", name="rollouts", target="aweigh.serve.dialects.rollouts:RolloutRoutes"),
    Plugin(kind="dialect", name="operations", target="aweigh.serve.dialects.operations:Operations"),
    Plugin(kind="remote", name="oci", target="aweigh.store.remotes.registry:open_registry", libraries=("urllib3",), extra="registry"),
    Plugin(kind="remote", name="s3", target="aweigh.store.remotes.objects:open_s3", libraries=("obstore",), extra="s3"),
    Plugin(
        kind="remote",
        name="gs",
        target="aweigh.store.remotes.objects:open_gs",
        libraries=("obstore",),
        extra="gs",
        experimental="not tried against Google Cloud Storage or an emulator of it",
    ),
    Plugin(
        kind="remote",
        name="az",
        target="aweigh.store.remotes.objects:open_az",
        libraries=("obstore",),
        extra="az",
        experimental="not tried against Azure Blob Storage or an emulator of it",
    ),
    Plugin(kind="source", name="https", target="aweigh.sources.web:fetch_https", libraries=("urllib3",), extra="registry"),
    Plugin(kind="source", name="http", target="aweigh.sources.web:fetch_https", libraries=("urllib3",), extra="registry"),
    Plugin(kind="source", name="hf", target="aweigh.sources.hub:fetch_hub", libraries=("urllib3",), extra="registry"),
    Plugin(kind="source", name="s3", target="aweigh.sources.objects:fetch_object", libraries=("obstore",), extra="s3"),
    Plugin(
        kind="source",
        name="gs",
        target="aweigh.sources.objects:fetch_object",
        libraries=("obstore",),
        extra="gs",
        experimental="not tried against Google Cloud Storage or an emulator of it",
    ),
    Plugin(kind="source", name="git+https", target="aweigh.sources.git:fetch_git"),
    Plugin(kind="source", name="git+file", target="aweigh.sources.git:fetch_git"),
    Plugin(kind="pointers", name="git-lfs", target="aweigh.sources.lfs:fetch_files", libraries=("urllib3",), extra="registry"),
    Plugin(
        kind="client-transport", name="rest", target="aweigh.client.transports.rest:RestTransport", libraries=("urllib3",), extra="client"
    ),
    Plugin(kind="chart", name="png", target="aweigh.optimization.chart_png:write_png", libraries=("matplotlib",), extra="plot"),
    Plugin(kind="plot", name="svg", target="aweigh.bench.pictures:write_svg"),
    Plugin(kind="plot", name="html", target="aweigh.bench.pictures:write_html"),
    Plugin(kind="plot", name="png", target="aweigh.bench.png:write_png", libraries=("matplotlib",), extra="plot"),
    Plugin(kind="client-transport", name="grpc", target="aweigh.client.transports.grpc:GrpcTransport", libraries=("grpc",), extra="client"),
)


def _has_strangers() -> bool:
    """Whether any installed distribution has an entry point for aweigh: looked up in their files, because importing importlib.metadata takes 2 MB."""
    for folder in sys.path:
        with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    with contextlib.suppress(OSError), open(f"{entry.path}/entry_points.txt", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # hundreds of them: no objects between
                        if "[aweigh." in file.read():
                            return True
    return False


def _strangers(kinds: set[str]) -> list[Plugin]:
    import importlib.metadata  # only where there are some: see above

    return [
        Plugin(
            kind=kind,
            name=point.name,
            target=point.value,
            experimental=f"from {point.dist.name if point.dist else 'elsewhere'}, not proven by aweigh",
            runs_code=True,
        )
        for kind in sorted(kinds)
        for point in importlib.metadata.entry_points(group=f"aweigh.{kind}")
    ]


@functools.cache
def _table() -> dict[tuple[str, str], Plugin]:
    table: dict[tuple[str, str], Plugin] = {}
    strangers = _strangers({row.kind for row in _BUILT_IN}) if _has_strangers() else []
    for row in (*_BUILT_IN, *strangers):
        if (row.kind, row.name) in table:
            raise Conflict(
                f"two plug-ins of kind '{row.kind}' are named '{row.name}': {table[row.kind, row.name].target} and {row.target}",
                hint="uninstall one of the packages that provide them",
            )
        table[row.kind, row.name] = row
    return table


def plugins(kind: str) -> list[Plugin]:
    """All rows of a kind, aweigh's own first."""
    return [row for row in _table().values() if row.kind == kind]


def plugin(kind: str, name: str) -> Plugin:
    """One row. Raises Unsupported, with the nearest name, when there is none."""
    row = _table().get((kind, name))
    if row is None:
        names = [row.name for row in plugins(kind)]
        near = nearest(name, names)
        raise Unsupported(
            f"there is no {kind} named {name!r}", hint=f"did you mean {near!r}?" if near else f"there are: {', '.join(names) or 'none'}"
        )
    return row


def check_libraries(kind: str, name: str) -> Plugin:
    """The row, whose libraries are all there; none of them is imported. Raises MissingLibrary that names the extra to install, by command."""
    row = plugin(kind, name)
    absent = row.missing()
    if absent:
        raise MissingLibrary(
            f"the {kind} '{name}' needs {', '.join(absent)}, which is not installed",
            hint=f"pip install '{row.install}'",
            libraries=", ".join(absent),
        )
    return row


def load(kind: str, name: str) -> object:
    """Import the plug-in and return its attribute. Raises MissingLibrary that names the extra to install, by command."""
    row = check_libraries(kind, name)
    module, _, attribute = row.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise MissingLibrary(
            f"the {kind} '{name}' cannot be loaded: {error}",
            hint="one of its libraries is broken or of a version it cannot work with: install it again",
        ) from error

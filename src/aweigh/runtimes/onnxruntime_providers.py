"""Execution providers of ONNX Runtime by the names that variants use. Rows of kind `provider` in `core/plugins.py` point here; the ONNX runtime asks with what is there."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from aweigh.core import plugins
from aweigh.core.errors import MissingLibrary, Unsupported
from aweigh.core.package import Variant
from aweigh.core.plugins import plugin

_OPTION: Final = "provider:"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What the library calls it, the wheel that has it, and what is said to it unless a variant says otherwise."""

    native: str
    wheel: str
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)


CPU: Final = Provider(native="CPUExecutionProvider", wheel="onnxruntime")
CUDA: Final = Provider(native="CUDAExecutionProvider", wheel="onnxruntime-gpu", options={"use_tf32": "0"})  # else it rounds to 10 bits
TENSORRT: Final = Provider(native="TensorrtExecutionProvider", wheel="onnxruntime-gpu")
OPENVINO: Final = Provider(
    native="OpenVINOExecutionProvider", wheel="onnxruntime-openvino", options={"device_type": "CPU", "precision": "FP32"}
)
QNN: Final = Provider(native="QNNExecutionProvider", wheel="onnxruntime-qnn")
COREML: Final = Provider(native="CoreMLExecutionProvider", wheel="onnxruntime on macOS")
VITISAI: Final = Provider(native="VitisAIExecutionProvider", wheel="onnxruntime-vitisai, of AMD's Ryzen AI software,")
DIRECTML: Final = Provider(native="DmlExecutionProvider", wheel="onnxruntime-directml")
MIGRAPHX: Final = Provider(native="MIGraphXExecutionProvider", wheel="onnxruntime-migraphx")

Asked = list[tuple[str, dict[str, str]]]


def asked_providers(variant: Variant, there: Sequence[str]) -> Asked:
    """What to ask the library for, in order, from the variant's options `providers` (names separated by commas) and `provider:KEY`, which belong to the first.

    The processor comes last in any case: it runs what others cannot. Raises Unsupported for a name that is not known, MissingLibrary that names the wheel.
    """
    names = [name.strip() for name in str(variant.options.get("providers", "cpu")).split(",")]
    said = {name.removeprefix(_OPTION): str(value) for name, value in variant.options.items() if name.startswith(_OPTION)}
    asked: Asked = []
    for name in names:
        provider = _provider(name)
        if provider.native not in there:
            known = ", ".join(row.name for row in plugins.plugins("provider") if _provider(row.name).native in there)
            raise MissingLibrary(
                f"variant '{variant.name}' is for the execution provider '{name}', which this ONNX Runtime does not have; it has: {known}",
                hint="; ".join(said for said in (how_to_install(provider), plugin("provider", name).experimental) if said),
            )
        asked.append((provider.native, {**provider.options, **(said if not asked else {})}))
    return asked if names[-1] == "cpu" else [*asked, (CPU.native, {})]


def how_to_install(provider: Provider) -> str:
    """What brings it: its library is another build of ONNX Runtime, and two cannot be installed at once."""
    return (
        f"install {provider.wheel}" if provider.wheel.startswith("onnxruntime on") else f"install {provider.wheel} in place of onnxruntime"
    )


def named(there: Sequence[str]) -> dict[str, tuple[bool, str]]:
    """Every provider by its name: whether it is among those that are there, and what to install where it is not."""
    found = {row.name: _provider(row.name) for row in plugins.plugins("provider")}
    return {name: (provider.native in there, how_to_install(provider)) for name, provider in found.items()}


def check_taken(variant: Variant, asked: Asked, taken: Sequence[str]) -> None:
    """Raise Unsupported where the library fell back without an error: it does where a provider finds no device."""
    if asked[0][0] not in taken:
        raise Unsupported(
            f"variant '{variant.name}' is for {asked[0][0]}, which did not start: ONNX Runtime fell back to {', '.join(taken)}",
            hint="its device or the libraries of its vendor are missing or of another version",
        )


def _provider(name: str) -> Provider:
    row = plugin("provider", name)
    found: Provider = globals()[row.target.partition(":")[2]]
    return found

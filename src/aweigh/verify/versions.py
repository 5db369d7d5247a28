"""The versions of the libraries that answered, for the evidence."""

from typing import Final

from aweigh.core.versions import installed

_LIBRARIES: Final = {
    "onnxruntime": ("onnxruntime", "numpy"),
    "sklearn": ("scikit-learn", "joblib", "numpy", "scipy", "pandas", "skops"),
    "reference": ("onnx", "numpy"),
    "openvino": ("openvino", "numpy"),
    "xgboost": ("xgboost", "xgboost-cpu", "numpy"),
    "lightgbm": ("lightgbm", "numpy"),
    "catboost": ("catboost", "numpy"),
    "torch": ("torch", "numpy"),
    "torch-eager": ("torch", "safetensors", "numpy"),
    "jax": ("jax", "jaxlib", "numpy"),
    "lleaves": ("lleaves", "llvmlite", "numpy"),
}
"""Runtime -> the distributions whose versions decide its answers."""


def versions(runtime: str) -> dict[str, str]:
    """Versions of aweigh and of the libraries behind a runtime, of those that are installed."""
    return installed(("aweigh", *_LIBRARIES.get(runtime, ("numpy",))))

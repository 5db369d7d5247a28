"""What exists is documented: every command, setting, error, dialect, route, gRPC method and plug-in stands in the reference."""

import inspect
from pathlib import Path

import msgspec
import pytest

from aweigh.cli.main import COMMANDS
from aweigh.core.errors import AweighError, all_errors
from aweigh.core.package import PackageManifest
from aweigh.core.plugins import load, plugins
from aweigh.core.settings import Settings
from aweigh.engine.dataplane import DataPlane
from aweigh.protos import method_names
from aweigh.serve.router import Route

DOCS = Path(__file__).resolve().parents[3] / "docs"


def page(*names: str) -> str:
    return "".join((DOCS / name).read_text() for name in names)


def missing(words: set[str], text: str) -> set[str]:
    return {word for word in words if f"`{word}`" not in text}


def routes() -> list[Route]:
    found: list[Route] = []
    for row in plugins("dialect"):
        dialect = load("dialect", row.name)
        assert inspect.isclass(dialect)
        found += dialect(DataPlane(Settings())).routes()
    return found


def test_commands() -> None:
    text = page("reference/cli.md")
    assert {name for section in COMMANDS.values() for name in section if f"### aweigh {name}\n" not in text} == set()


def test_settings() -> None:
    assert missing({field.name for field in msgspec.structs.fields(Settings)}, page("reference/settings.md")) == set()


def test_errors() -> None:
    assert missing({cls.code for cls in all_errors() if cls is not AweighError}, page("reference/errors.md")) == set()


def test_dialects() -> None:
    assert missing({row.name for row in plugins("dialect")}, page("reference/rest.md", "reference/grpc.md")) == set()


@pytest.mark.parametrize("route", [route for route in routes() if not route.grpc], ids=lambda route: f"{route.method} {route.template}")
def test_routes(route: Route) -> None:
    text = page("reference/rest.md")
    path = route.template
    if "/versions/{version}" in path:  # written once, as `…/versions/{version}`, beside the path without it
        assert "…" + path[path.index("/versions") :] in text
        path = path.replace("/versions/{version}", "")
    assert f"`{route.method} {path}`" in text


def test_grpc_methods() -> None:
    text = page("reference/grpc.md")
    for service in ("inference.GRPCInferenceService", "grpc.health.v1.Health"):
        assert missing({service, *method_names(service)}, text) == set()


def test_runtimes_and_frameworks() -> None:
    assert missing({row.name for row in plugins("runtime")}, page("glossary.md")) == set()
    names = {
        "onnx": "ONNX",
        "python": "Python class",
        "sklearn": "scikit-learn",
        "xgboost": "XGBoost",
        "lightgbm": "LightGBM",
        "catboost": "CatBoost",
        "torch": "PyTorch",
        "jax": "JAX",
        "mxnet": "MXNet",
        "huggingface": "Hugging Face",
        "keras": "Keras",
        "savedmodel": "SavedModel",
        "tflite": "TensorFlow Lite",
    }
    for row in plugins("framework"):
        assert names[row.name] in page("guides/pack.md")


def test_manifest_fields() -> None:
    assert missing({field.name for field in msgspec.structs.fields(PackageManifest)}, page("reference/package-format.md")) == set()


def test_public_names() -> None:
    import aweigh

    text = page("reference/python.md")
    assert {name for name in aweigh.__all__ if name != "__version__" and f"aweigh.{name}" not in text and f"`{name}`" not in text} == set()

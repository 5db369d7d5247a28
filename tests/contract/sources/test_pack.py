"""Addresses as sources of `pack` and `serve`: fetched, looked into, proven, and the origin kept."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from tests.contract.sources.conftest import Site

from aweigh.app.models import open_model
from aweigh.cli.main import root
from aweigh.core.errors import Refused
from aweigh.core.settings import Settings


def linear() -> bytes:
    value = helper.make_tensor_value_info
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32), "W")
    node = helper.make_node("MatMul", ["x", "W"], ["y"])
    graph = helper.make_graph(
        [node], "linear", [value("x", TensorProto.FLOAT, ["N", 3])], [value("y", TensorProto.FLOAT, ["N", 3])], [weights]
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def test_pack_takes_an_https_address(site: Site, tmp_path: Path) -> None:
    url = site.put("/models/unit.onnx", linear())
    words = ["--home", str(tmp_path / "home"), "--ca-file", site.ca_file, "--json"]
    refused = CliRunner().invoke(root, ["pack", url, *words])
    assert refused.exit_code != 0
    assert site.asked == []
    done = CliRunner().invoke(root, ["pack", url, "--private-hosts", f"localhost:{site.port}", *words])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["model"] == "unit:1"
    assert said["manifest"]["provenance"]["source_address"].startswith(f"{url}#sha256=")


def test_a_signed_address_is_not_in_the_package(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = site.put("/models/unit.onnx?signature=s3cret", linear())
    url = signed.partition("?")[0]
    words = ["pack", signed, "--private-hosts", f"localhost:{site.port}", "--ca-file", site.ca_file]
    words += ["--home", str(tmp_path / "home"), "--json"]
    monkeypatch.setattr("sys.argv", ["aweigh", *words])
    done = CliRunner().invoke(root, words)
    assert done.exit_code == 0, done.output
    assert "s3cret" not in done.stdout
    said = json.loads(done.stdout)["manifest"]["provenance"]
    assert said["command"].startswith(f"aweigh pack '{url}?***' --private-hosts")
    assert said["source_address"].startswith(f"{url}#sha256=")


def test_serve_takes_a_git_address_of_a_folder_of_another_tool(
    site: Site, tmp_path: Path, repository: Callable[[dict[str, bytes]], tuple[Path, str]]
) -> None:
    bare, commit = repository({"net/MLmodel": b"flavors:\n  onnx:\n    data: model.onnx\n", "net/model.onnx": linear()})
    settings = Settings(home=str(tmp_path / "home"))
    handle = open_model(settings, f"git+file://{bare}#net")
    assert handle.reference.name == "net"
    assert handle.manifest.provenance.source_address == f"git+file://{bare}@{commit}#net"
    assert handle.manifest.provenance.source_layout == "MLflow model, flavour onnx: model.onnx"
    with pytest.raises(Refused):
        open_model(settings, f"{site.url}/model.onnx")

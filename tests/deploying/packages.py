"""Small packages for tests of targets, and a model server's folder made of one."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from aweigh.app.deploy import Deployed, DeployOptions, deploy_package
from aweigh.app.packages import open_store
from aweigh.core.names import model_name
from aweigh.core.settings import Settings
from aweigh.packing import PackRequest
from aweigh.packing.assemble import assemble
from aweigh.packing.choose import framework_for_format, recognise_source
from aweigh.store import StoredPackage
from aweigh.verify import prove

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)
value = helper.make_tensor_value_info


def linear(*, batched: bool = True, neighbours: bool = False) -> Any:
    """Four numbers in, three out; with `neighbours`, each row's answer hangs on the mean of those that run beside it."""
    rows = "N" if batched else 2
    nodes = [helper.make_node("MatMul", ["x", "W"], ["product" if neighbours else "y"])]
    if neighbours:
        nodes += [
            helper.make_node("ReduceMean", ["product"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Add", ["product", "mean"], ["y"]),
        ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [value("x", TensorProto.FLOAT, [rows, 4])],
        [value("y", TensorProto.FLOAT, [rows, 3])],
        [numpy_helper.from_array(WEIGHTS, "W")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def pack_linear(home: Path, name: str = "linear", **shape: bool) -> StoredPackage:
    """Packed into the home's store."""
    np.save(home / "rows.npy", ROWS)
    return publish(home, name, linear(**shape), sample=str(home / "rows.npy") if shape.get("batched", True) else None)


def publish(home: Path, name: str, model: Any, **said: Any) -> StoredPackage:
    """An ONNX model, packed in this process: a child of its own would take the tests' time."""
    file = home / f"{name}.onnx"
    onnx.save(model, file)
    work = home / f"work-{name}"
    work.mkdir()
    recognised = recognise_source(file, "")
    framework = framework_for_format(recognised.format)
    loaded = framework.load(file, recognised, trust=False)
    draft = assemble(framework, loaded, PackRequest(prove=prove, **said), work, source=file, recognised=recognised)
    return open_store(Settings(home=str(home))).publish(model_name(name), draft)


def deploy(home: Path, model: str, target: str, out: Path, **said: Any) -> Deployed:
    """As `aweigh deploy` does it."""
    return deploy_package(Settings(home=str(home)), model, DeployOptions(target=target, out=str(out), **said))

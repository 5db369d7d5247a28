"""A3, Keras: archives modelled on each published way to run code by loading a model are refused before Keras is imported, naming what they would call.

The files are made from bytes, so that no Keras is needed. Files that Keras itself wrote are in tests/frameworks/test_keras.py.
"""

import builtins
import io
import json
import socket
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.threats.commands import run_all

from aweigh.core.errors import InvalidFile, NotTrusted
from aweigh.packing.choose import judge
from aweigh.packing.recognise import recognise

DENSE = {
    "module": "keras.layers",
    "class_name": "Dense",
    "config": {"name": "dense", "units": 1, "activation": "linear"},
    "registered_name": None,
}
TENSOR = {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "dtype": "float32", "keras_history": ["x", 0, 0]}}


def called(name: str, module: str, /, **arguments: Any) -> dict[str, Any]:
    """A class or function to be looked up, and what it would be called with."""
    return {"module": module, "class_name": name, "config": arguments, "registered_name": name}


def looked_up(name: str, module: str) -> dict[str, Any]:
    """A function that is passed on."""
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def dead(layer: dict[str, Any], *arguments: Any) -> dict[str, Any]:
    """A node of a Functional model that leads nowhere, and is called all the same when the model is put together."""
    return {**layer, "name": "dead", "inbound_nodes": [{"args": list(arguments), "kwargs": {}}]}


MARSHALLED = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
CASES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "CVE-2024-3660 Lambda": ([called("Lambda", "keras.layers", function=MARSHALLED)], "Lambda"),
    "CVE-2024-3660 Lambda without a module": ([{"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None]}}], "Lambda"),
    "CVE-2024-3660 code in a layer": ([{**DENSE, "config": {"units": 1, "activation": MARSHALLED}}], "Lambda"),
    "CVE-2025-1550 any class": ([called("Popen", "subprocess", args=["touch", "SENTINEL"])], "subprocess.Popen"),
    "CVE-2025-1550 any function": ([{**DENSE, "config": {"units": 1, "activation": looked_up("system", "os")}}], "os.system"),
    "CVE-2025-1550 builtins": ([{**DENSE, "config": {"kernel_initializer": looked_up("exec", "builtins")}}], "builtins.exec"),
    "CVE-2025-1550 numpy": ([called("load", "numpy", file="SENTINEL", allow_pickle=True)], "numpy.load"),
    "CVE-2025-8747 get_file as a class": ([dead(called("get_file", "keras.utils"), "x", "http://127.0.0.1/x")], "keras.utils.get_file"),
    "CVE-2025-8747 get_file as a function": ([dead(looked_up("get_file", "keras.utils"), "x", "http://127.0.0.1/x")], "keras.utils.get_file"),
    "CVE-2025-8747 inner modules": ([called("get_file", "keras.src.utils.file_utils")], "file_utils.get_file"),
    "CVE-2025-9906 unsafe first": (
        [dead(looked_up("enable_unsafe_deserialization", "keras.config")), called("Lambda", "keras.layers", function=MARSHALLED)],
        "enable_unsafe_deserialization",
    ),
    "CVE-2025-9906 by its class name": ([dead(called("enable_unsafe_deserialization", "keras.config"))], "enable_unsafe_deserialization"),
    "dead node of keras.utils": ([dead(called("save_img", "keras.utils"), "SENTINEL", TENSOR)], "keras.utils.save_img"),
    "dead node that loads a model": ([dead(looked_up("load_model", "keras.saving"), "SENTINEL", None, True, False)], "load_model"),
    "downloader": ([dead(looked_up("load_data", "keras.datasets.mnist"), "SENTINEL")], "keras.datasets.mnist.load_data"),
    "application with weights": ([called("ResNet50", "keras.applications", weights="imagenet")], "ResNet50"),
    "SavedModel as a layer": ([called("TFSMLayer", "keras.layers", filepath="SENTINEL")], "TFSMLayer"),
    "PyTorch as a layer": ([called("TorchModuleWrapper", "keras.layers", module="gAJ9")], "TorchModuleWrapper"),
    "JAX as a layer": ([called("JaxLayer", "keras.layers", call_fn=looked_up("system", "os"))], "JaxLayer"),
    "another package": ([called("Attention", "mymodule")], "mymodule.Attention"),
    "vocabulary from a file": ([called("StringLookup", "keras.layers", vocabulary="/etc/passwd")], "/etc/passwd"),
    "vocabulary from the network": ([called("TextVectorization", "keras.layers", vocabulary="gs://bucket/words")], "gs://bucket/words"),
    "texts split by a function": ([called("TextVectorization", "keras.layers", split=looked_up("eval", "builtins"))], "builtins.eval"),
    "a type of TensorFlow's": ([{"class_name": "__typespec__", "spec_name": "system", "module": "os", "config": []}], "os|typespec"),
    "a type in HDF5": ([{"class_name": "TypeSpec", "type_spec": "x", "serialized": []}], "TypeSpec"),
    "inside a wrapper": ([called("TimeDistributed", "keras.layers", layer=called("Lambda", "keras.layers"))], "Lambda"),
    "inside a model inside": ([called("Sequential", "keras", layers=[DENSE, called("Popen", "subprocess")])], "subprocess.Popen"),
    "a module that is no name": ([{"module": ["os"], "class_name": "system", "config": {}}], "no names"),
    "training side of an inner model": ([{**called("Sequential", "keras", layers=[]), "compile_config": {"loss": looked_up("exec", "builtins")}}], "exec"),
    "built from": ([{**DENSE, "build_config": {"input_shape": called("Popen", "subprocess")}}], "subprocess.Popen"),
}  # fmt: skip


def configured(folder: Path, layers: list[dict[str, Any]]) -> str:
    """The configuration of a model with these layers, their sentinel in the folder."""
    layer = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "config": {"batch_shape": [None, 4], "name": "x"},
        "inbound_nodes": [],
        "name": "x",
    }
    config = {"name": "m", "layers": [layer, *layers], "input_layers": [["x", 0, 0]], "output_layers": [["x", 0, 0]]}
    model = {"module": "keras", "class_name": "Functional", "config": config, "registered_name": "Functional", "compile_config": None}
    return json.dumps(model).replace("SENTINEL", str(folder / "sentinel"))


def archived(folder: Path, config: str, **more: bytes) -> Path:
    """A `.keras` archive."""
    file = folder / "model.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(100))
        for name, data in more.items():
            archive.writestr(name.replace("__", "/"), data)
    return file


def legacy(folder: Path, config: str) -> Path:
    """An `.h5` file as far as its bytes tell: the configuration lies in it as it is written."""
    file = folder / "model.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500) + b'{"class_name' + b"\x00" * 40 + config.encode() + bytes(200))
    return file


@pytest.fixture
def shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket, and no file that is written."""

    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    def reading(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        assert not set(mode) & set("wax+"), f"{file} was opened with {mode}"
        return io.open(file, mode, *rest, **more)  # noqa: UP020  # the other one is what is shut

    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setattr(builtins, "open", reading)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", ["keras", "h5", "folder"])
def test_what_runs_or_reads_by_loading_is_refused_by_name(tmp_path: Path, request: pytest.FixtureRequest, case: str, form: str) -> None:
    layers, named = CASES[case]
    config = configured(tmp_path, layers)
    if form == "keras":
        source = archived(tmp_path, config)
    elif form == "h5":
        source = legacy(tmp_path, config)
    else:
        source = tmp_path / "model"
        source.mkdir()
        (source / "config.json").write_text(config)
        (source / "model.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    request.getfixturevalue("shut")
    with pytest.raises(NotTrusted, match=named) as refused:
        judge(source, recognise(source), trust=False)
    assert str(refused.value.context["place"]).startswith("$.config.layers[1]")
    assert not (tmp_path / "sentinel").exists()
    assert "keras" not in sys.modules


def test_a_model_of_keras_own_is_not_refused_for_its_configuration(tmp_path: Path) -> None:
    for source in (archived(tmp_path, configured(tmp_path, [DENSE])), legacy(tmp_path, configured(tmp_path, [DENSE]))):
        judge(source, recognise(source), trust=False)


def test_whatever_else_lies_in_an_archive_is_refused(tmp_path: Path) -> None:
    config = configured(tmp_path, [DENSE])
    for name in ("assets__..__..__x", "assets\\..\\x", "code.py", "__init__.py"):
        source = archived(tmp_path, config, **{name: b"x"})
        with pytest.raises(InvalidFile, match="no part of a Keras model"):
            judge(source, recognise(source), trust=True)
    source = tmp_path / "model"
    source.mkdir()
    (source / "config.json").write_text(config)
    (source / "model.weights.h5").symlink_to("/etc/passwd")
    with pytest.raises(InvalidFile, match="no file of its own"):
        judge(source, recognise(source), trust=True)


def test_the_command_refuses_and_makes_no_environment_for_it(tmp_path: Path) -> None:
    """As anyone would meet it, with and without asserts."""
    source = archived(tmp_path, configured(tmp_path, CASES["CVE-2025-1550 any class"][0]))
    (tmp_path / "environments").mkdir()
    for optimised in ("", "1"):
        variables = {"AWEIGH_ENVIRONMENTS": str(tmp_path / "environments"), "PYTHONOPTIMIZE": optimised}
        done = run_all(tmp_path / "home", {"pack": ["pack", str(source), "--name", "m"]}, **variables)["pack"]
        assert done.code, done.said
        assert done.error["code"] == "not-trusted", done.said
        assert "subprocess.Popen" in done.error["message"]
    assert not (tmp_path / "sentinel").exists()
    assert not list((tmp_path / "environments").glob("tensorflow-*"))


def test_an_archive_behind_an_hdf5_file_does_not_stand_for_it(tmp_path: Path) -> None:
    layers, _ = CASES["CVE-2024-3660 Lambda"]
    source = legacy(tmp_path, configured(tmp_path, layers))
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("config.json", configured(tmp_path, [DENSE]))
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n")
    assert recognise(source).format == "keras-h5"
    with pytest.raises(InvalidFile, match="a zip archive as well"):
        judge(source, recognise(source), trust=False)


def test_a_damaged_archive_is_an_invalid_file(tmp_path: Path) -> None:
    source = tmp_path / "model.keras"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": [], "x": list(range(5000))}}))
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n")
        archive.writestr("metadata.json", "{}")
    data = bytearray(source.read_bytes())
    data[60:200] = b"\xff" * 140
    source.write_bytes(data)
    with pytest.raises(InvalidFile, match=r"model\.keras"):
        judge(source, recognise(source), trust=False)

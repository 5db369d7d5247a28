"""Folders and archives of other tools that bring code, and files of networks that name some: packed or refused, nothing of it is imported, unpickled or run."""

import json
import pickle
import struct
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contract.sources.test_pack import linear

from aweigh.core.errors import AweighError
from aweigh.isolate import Environments
from aweigh.packing import PackRequest, pack
from aweigh.verify import prove

Build = Callable[[Path, str], Path]
ROWS = np.eye(3, dtype=np.float32)


class Touch:
    """Leaves the sentinel behind where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


def code(sentinel: str) -> str:
    return f"from pathlib import Path\nPath({sentinel!r}).touch()\n\ndef _load_pyfunc(path):\n    Path({sentinel!r}).touch()\n\nclass TritonPythonModel:\n    pass\n"


def put(folder: Path, **files: str | bytes) -> Path:
    for name, data in files.items():
        place = folder / name.replace("__", "/").replace("_dot_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def mlmodel(flavours: str) -> str:
    return f"flavors:\n{textwrap.indent(textwrap.dedent(flavours).strip(), '  ')}\nutc_time_created: '2026-01-01 00:00:00'\n"


def mlflow_loader(folder: Path, sentinel: str) -> Path:
    said = mlmodel("python_function:\n  loader_module: evil\n  code: code\n  data: data\n  python_version: 3.11.7")
    return put(folder, MLmodel=said, code__evil_dot_py=code(sentinel), data__model_dot_pkl=pickle.dumps(Touch(sentinel)))


def mlflow_class(folder: Path, sentinel: str) -> Path:
    said = mlmodel("python_function:\n  loader_module: mlflow.pyfunc.model\n  python_model: python_model.pkl\n  cloudpickle_version: 3.0.0")
    return put(folder, MLmodel=said, python_model_dot_pkl=pickle.dumps(Touch(sentinel)))


def mlflow_pickle(folder: Path, sentinel: str) -> Path:
    said = mlmodel("sklearn:\n  pickled_model: model.pkl\n  code: code\npython_function:\n  loader_module: evil\n  code: code")
    return put(folder, MLmodel=said, model_dot_pkl=pickle.dumps(Touch(sentinel)), code__evil_dot_py=code(sentinel))


def mar(folder: Path, sentinel: str, **model: str) -> Path:
    with zipfile.ZipFile(folder / "model.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"serializedFile": "model.onnx", **model}, "runtime": "python"}))
        archive.writestr("model.onnx", linear())
        archive.writestr("evil.py", code(sentinel))
    return folder / "model.mar"


def mar_handler(folder: Path, sentinel: str) -> Path:
    return mar(folder, sentinel, handler="evil.py:handle")


def mar_model_file(folder: Path, sentinel: str) -> Path:
    return mar(folder, sentinel, handler="image_classifier", modelFile="evil.py")


def mar_pickle(folder: Path, sentinel: str) -> Path:
    with zipfile.ZipFile(folder / "model.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"serializedFile": "model.pkl", "handler": "base_handler"}}))
        archive.writestr("model.pkl", pickle.dumps(Touch(sentinel)))
    return folder / "model.mar"


def triton_python(folder: Path, sentinel: str) -> Path:
    return put(folder, config_dot_pbtxt='name: "evil"\nbackend: "python"\n', **{"1__model_dot_py": code(sentinel)})


def triton_unsaid(folder: Path, sentinel: str) -> Path:
    """No configuration: Triton would guess the backend by the file."""
    return put(folder, **{"1__model_dot_py": code(sentinel)})


def bentoml_objects(folder: Path, sentinel: str) -> Path:
    said = "name: net\nversion: v1\nmodule: bentoml.picklable_model\ncontext:\n  bentoml_version: 1.4.0\n"
    return put(
        folder, model_dot_yaml=said, saved_model_dot_pkl=pickle.dumps(Touch(sentinel)), custom_objects_dot_pkl=pickle.dumps(Touch(sentinel))
    )


def mlserver_class(folder: Path, sentinel: str) -> Path:
    said = {"name": "evil", "implementation": "evil.Model", "parameters": {"uri": "./model.pkl"}}
    return put(
        folder, **{"model-settings_dot_json": json.dumps(said)}, evil_dot_py=code(sentinel), model_dot_pkl=pickle.dumps(Touch(sentinel))
    )


def python_class(folder: Path, sentinel: str) -> Path:
    return put(folder, model_dot_py=code(sentinel) + "\nclass Model:\n    def predict(self, rows):\n        return rows\n")


def renamed_pickle(folder: Path, sentinel: str) -> Path:
    """In another tool's folder, under the name of a file that runs nothing."""
    said = mlmodel("onnx:\n  data: model.onnx\n  onnx_version: 1.17.0")
    return put(folder, MLmodel=said, model_dot_onnx=pickle.dumps(Touch(sentinel)))


REFUSED: dict[str, tuple[Build, str, str]] = {
    "MLflow with a loader": (mlflow_loader, "unknown-format", "flavour python_function"),
    "MLflow with a pickled class": (mlflow_class, "unknown-format", "flavour python_function"),
    "MLflow with a pickle": (mlflow_pickle, "not-trusted", "pickle"),
    "MLflow with a pickle under the name of ONNX": (renamed_pickle, "not-trusted", "pickle"),
    "TorchServe with a handler": (mar_handler, "not-trusted", "evil.py:handle"),
    "TorchServe with a class": (mar_model_file, "unsupported", "evil.py"),
    "TorchServe with a pickle": (mar_pickle, "not-trusted", "pickle"),
    "Triton with the Python backend": (triton_python, "unsupported", "Python backend"),
    "Triton with Python and no configuration": (triton_unsaid, "unknown-format", "without a model"),
    "BentoML with pickles": (bentoml_objects, "not-trusted", "pickle"),
    "MLServer with a class": (mlserver_class, "not-trusted", "pickle"),
    "a Python class": (python_class, "not-trusted", "Python class model:Model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_code_in_a_folder_is_refused_by_name_and_not_run(case: str, tmp_path: Path) -> None:
    build, kind, said = REFUSED[case]
    (tmp_path / "source").mkdir()
    sentinel = tmp_path / "sentinel"
    source = build(tmp_path / "source", str(sentinel))
    with pytest.raises(AweighError) as caught:
        pack(source, PackRequest(prove=prove, sample=ROWS, factory="model:Model" if build is python_class else ""))
    assert (caught.value.code, said in caught.value.message) == (kind, True), caught.value
    assert caught.value.hint
    assert not sentinel.exists()


def test_code_beside_a_model_that_needs_none_stays_where_it_is(tmp_path: Path) -> None:
    """Flavours that name a known file are packed; what else they name is neither run nor taken along."""
    sentinel, source = tmp_path / "sentinel", tmp_path / "source"
    said = mlmodel("onnx:\n  data: model.onnx\npython_function:\n  loader_module: evil\n  code: code")
    put(source, MLmodel=said, model_dot_onnx=linear(), code__evil_dot_py=code(str(sentinel)))
    draft = pack(source, PackRequest(prove=prove, sample=ROWS))
    assert not [name for name in draft.files if "evil" in name]
    assert not sentinel.exists()


def test_with_trust_an_archives_handler_is_left_out_and_still_not_run(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    draft = pack(mar_handler(tmp_path, str(sentinel)), PackRequest(prove=prove, sample=ROWS, trust=True))
    assert "without its own handler evil" in draft.manifest.provenance.source_layout
    assert not sentinel.exists()


@pytest.mark.parametrize("operator", ["Custom", "_Native", "_NDArray", "TorchModule", "_CustomFunction"])
def test_a_symbol_that_calls_python_is_refused_before_an_environment_is_made(operator: str, tmp_path: Path) -> None:
    """`Custom` names a class that whoever loads it has registered; `_Native` holds addresses of functions."""
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": operator, "name": "evil", "inputs": [[0, 0, 0]], "attrs": {"op_type": "evil", "info": "139637976727552"}},
    ]
    put(tmp_path, **{"evil-symbol_dot_json": json.dumps({"nodes": nodes, "arg_nodes": [0], "heads": [[1, 0, 0]]}, indent=2)})
    put(tmp_path, **{"evil-0000_dot_params": struct.pack("<QQQQ", 0x112, 0, 0, 0)})
    environments = Environments(tmp_path / "environments")
    with pytest.raises(AweighError, match=f"'{operator}'") as caught:
        pack(tmp_path / "evil-symbol.json", PackRequest(prove=prove, sample=ROWS, environments=environments))
    assert caught.value.code in {"unsupported", "invalid-file"}
    assert not environments.has("mxnet")
    assert environments.kept() == []


LYING: dict[str, bytes] = {
    "longer than the file": struct.pack("<Q", 10**9) + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(4),
    "a header without end": struct.pack("<Q", 2**63) + b"{" + bytes(64),
    "a pickle behind the name": pickle.dumps({"w": 1}),
    "nothing but a length": struct.pack("<Q", 2),
}


@pytest.mark.parametrize("case", LYING)
def test_lengths_of_safetensors_that_lie_take_no_memory(case: str, tmp_path: Path) -> None:
    """Told without any library; `tests/frameworks` has those whose header is one."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(LYING[case])
    with pytest.raises(AweighError) as caught:
        pack(path, PackRequest(prove=prove, sample=ROWS))
    assert caught.value.code in {"unknown-format", "invalid-file", "missing-library", "not-trusted"}, caught.value
    assert caught.value.hint

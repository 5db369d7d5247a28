"""Folders of other tools: which file is found inside, what is refused by name, and that no path leads out."""

import contextlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aweigh.core.errors import FileMissing, InvalidFile, NotTrusted, TooLarge, UnknownFormat, Unsupported
from aweigh.core.protobuf_text import read_protobuf_text
from aweigh.packing.layouts import Inside, look_inside
from aweigh.packing.layouts.yaml_text import read_yaml

TREE = b"tree\nversion=v4\n"
CBM = b"CBM1" + b"\0" * 50
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"

MLMODEL = """\
artifact_path: model
flavors:
  {flavour}:
    data: model.lgb
    code: null
    lgb_version: 4.6.0
  python_function:
    data: model.lgb
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.lightgbm
    python_version: 3.11.7
mlflow_version: 2.20.0
model_size_bytes: 1234
model_uuid: 4a6d2b0e6c7f4a58a2a3e9f6f7a3f1a4
run_id: 0f0f
saved_input_example_info:
  artifact_path: input_example.json
  pandas_orient: split
  type: dataframe
signature:
  inputs: '[{{"type": "double", "name": "sepal length", "required": true}}, {{"type":
    "double", "name": "it''s", "required": true}}]'
  outputs: '[{{"type": "tensor", "tensor-spec": {{"dtype": "int64", "shape": [-1]}}}}]'
  params: null
utc_time_created: '2026-01-01 00:00:00.000000'
"""


def look(folder: Path, tmp_path: Path, *, trust: bool = False) -> Inside:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    found = look_inside(folder, work, trust=trust)
    assert found is not None
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def put(root: Path, **files: bytes | str) -> None:
    for name, data in files.items():
        place = root / name.replace("__", "/").replace("_dot_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data.encode() if isinstance(data, str) else data)


def mlflow(root: Path, flavour: str = "lightgbm", **files: bytes | str) -> None:
    rows = {"columns": ["sepal length", "it's"], "data": [[1.0, 2.0], [3.0, 4.5]]}
    put(root, MLmodel=MLMODEL.format(flavour=flavour), input_example_dot_json=json.dumps(rows), model_dot_lgb=TREE, **files)


def test_mlflow_names_model_columns_and_sample(root: Path, tmp_path: Path) -> None:
    mlflow(root)
    found = look(root, tmp_path)
    assert found.file == root / "model.lgb"
    assert found.layout == "MLflow model, flavour lightgbm: model.lgb"
    assert found.stated.columns == ("sepal length", "it's")
    assert found.sample is not None
    assert found.sample.read_text().splitlines()[1] == '{"sepal length":3.0,"it\'s":4.5}'


def test_an_mlflow_flavour_that_is_not_taken_is_named(root: Path, tmp_path: Path) -> None:
    mlflow(root, "prophet")
    with pytest.raises(UnknownFormat, match="flavour prophet, python_function"):
        look(root, tmp_path)


def test_mlflow_without_its_file(root: Path, tmp_path: Path) -> None:
    mlflow(root)
    (root / "model.lgb").unlink()
    with pytest.raises(FileMissing, match=r"model\.lgb"):
        look(root, tmp_path)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "link", "linked/x", "C:\\x", ".", "fifo"])
def test_no_path_of_a_layout_leads_out(root: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "x").write_bytes(TREE)
    (root / "link").symlink_to(tmp_path / "x")
    (root / "linked").symlink_to(tmp_path)
    os.mkfifo(root / "fifo")
    mlflow(root)
    (root / "MLmodel").write_text(f"flavors:\n  lightgbm:\n    data: '{path}'\n")
    with pytest.raises(InvalidFile, match=r"no plain path|a link|neither a file"):
        look(root, tmp_path)


CONFIG = """\
# made by hand
name: "densenet"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [
  { name: "x", data_type: TYPE_FP32, dims: [ 3, -1 ] }
]
output { name: "y" data_type: TYPE_STRING dims: 2 dims: 1 }
instance_group [ { kind: KIND_CPU count: 2 } ]
"""


def test_triton_takes_the_newest_version(root: Path, tmp_path: Path) -> None:
    put(root, config_dot_pbtxt=CONFIG, **{"2__model_dot_onnx": b"old", "10__model_dot_onnx": b"new", "notes__x": b""})
    found = look(root, tmp_path)
    assert found.file == root / "10" / "model.onnx"
    assert [(each.name, each.datatype, each.dims) for each in (*found.stated.inputs, *found.stated.outputs)] == [
        ("x", "FP32", (3, -1)),
        ("y", "BYTES", (2, 1)),
    ]
    assert found.stated.batched


def test_a_triton_repository_of_one_model_and_of_several(root: Path, tmp_path: Path) -> None:
    put(root, a__config_dot_pbtxt=CONFIG, a__1__model_dot_onnx=b"x")
    assert look(root, tmp_path).file == root / "a" / "1" / "model.onnx"
    put(root, b__config_dot_pbtxt=CONFIG)
    with pytest.raises(UnknownFormat, match="2 models: a, b"):
        look(root, tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [('platform: "ensemble"', "ensemble"), ('backend: "python"', "Python backend"), ('platform: "tensorrt_plan"', "TensorRT")],
)
def test_triton_models_without_a_model_are_named(root: Path, tmp_path: Path, text: str, words: str) -> None:
    put(root, config_dot_pbtxt=text)
    with pytest.raises(Unsupported, match=words):
        look(root, tmp_path)


def test_triton_cannot_name_a_file_elsewhere(root: Path, tmp_path: Path) -> None:
    put(root, config_dot_pbtxt='backend: "onnxruntime" default_model_filename: "../../model.onnx"', **{"1__x": b""})
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(InvalidFile, match="no plain path"):
        look(root, tmp_path)


def test_tensorflow_serving_takes_the_highest_number(root: Path, tmp_path: Path) -> None:
    put(root, **{"1__saved_model_dot_pb": b"x", "00000123__saved_model_dot_pb": b"x"})
    assert look(root, tmp_path).file == root / "00000123"


def mar(place: Path, manifest: dict[str, Any], **files: bytes) -> Path:
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": manifest, "archiverVersion": "0.12.0", "runtime": "python"}))
        for name, data in files.items():
            archive.writestr(name.replace("_dot_", "."), data)
    return place


def test_a_torchserve_archive_gives_its_file(root: Path, tmp_path: Path) -> None:
    place = mar(root / "m.mar", {"serializedFile": "model.pt", "handler": "image_classifier"}, model_dot_pt=b"weights")
    found = look(place, tmp_path)
    assert found.file.read_bytes() == b"weights"
    assert found.layout == "TorchServe archive, without its standard handler image_classifier: model.pt"


def test_a_handler_of_its_own_needs_trust_and_is_named(root: Path, tmp_path: Path) -> None:
    place = mar(
        root / "m.mar", {"serializedFile": "model.pt", "handler": "evil.py:handle"}, model_dot_pt=b"w", evil_dot_py=b"raise SystemExit"
    )
    with pytest.raises(NotTrusted, match=r"evil\.py"):
        look(place, tmp_path)
    assert "own handler evil" in look(place, tmp_path, trust=True).layout


def test_an_archive_with_a_class_is_refused_by_name(root: Path, tmp_path: Path) -> None:
    place = mar(root / "m.mar", {"serializedFile": "model.pt", "modelFile": "net.py", "handler": "image_classifier"}, model_dot_pt=b"w")
    with pytest.raises(Unsupported, match=r"net\.py"):
        look(place, tmp_path)


@pytest.mark.parametrize("name", ["../model.pt", "/tmp/model.pt", "a/model.pt", "absent.pt", "", "..", "x\0y"])
def test_an_archive_writes_nowhere_else(root: Path, tmp_path: Path, name: str) -> None:
    place = mar(root / "m.mar", {"serializedFile": name, "handler": ""}, **({name: b"w"} if name not in {"absent.pt", ""} else {}))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((InvalidFile, Unsupported)):
        look(place, tmp_path)
    assert [each for each in sorted(tmp_path.rglob("*")) if "work" not in each.parts] == before


def test_a_file_twice_and_a_broken_archive(root: Path, tmp_path: Path) -> None:
    place = mar(root / "m.mar", {"serializedFile": "model.pt"}, model_dot_pt=b"w" * 1000)
    data = bytearray(place.read_bytes())
    data[data.index(b"wwww")] = 0
    place.write_bytes(data)
    with pytest.raises(InvalidFile, match="damaged"):
        look(place, tmp_path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(place, "a") as archive:
        archive.writestr("model.pt", b"other")
    with pytest.raises(InvalidFile, match="2 times"):
        look(place, tmp_path)


def test_bentoml_models_and_bentos(root: Path, tmp_path: Path) -> None:
    said = "name: iris\nversion: abc\nmodule: bentoml.catboost\nlabels: {}\noptions: {}\ncontext:\n  framework_name: catboost\n"
    put(root, models__iris__abc__model_dot_yaml=said, models__iris__abc__saved_model_dot_cbm=CBM, models__iris__latest="abc\n")
    model = root / "models" / "iris" / "abc"
    assert look(model, tmp_path).file == model / "saved_model.cbm"
    assert look(model.parent, tmp_path).file == model / "saved_model.cbm"
    put(root, bento_dot_yaml="service: 'service:svc'\n")
    assert look(root, tmp_path).layout == "BentoML model iris:abc: saved_model.cbm"
    (model.parent / "latest").write_text("../../..")
    with pytest.raises(InvalidFile, match="no plain path"):
        look(model.parent, tmp_path)


def test_kserve_storage(root: Path, tmp_path: Path) -> None:
    settings = {"name": "iris", "implementation": "mlserver_lightgbm.LightGBMModel", "parameters": {"uri": "./model.bst", "version": "v1"}}
    put(root, model_dot_bst=TREE, other_dot_cbm=CBM)
    (root / "model-settings.json").write_text(json.dumps(settings))
    assert look(root, tmp_path).file == root / "model.bst"
    assert "LightGBMModel" in look(root, tmp_path).layout
    (root / "model-settings.json").unlink()
    (root / "model-store").mkdir()
    mar(root / "model-store" / "m.mar", {"serializedFile": "model.pt"}, model_dot_pt=b"w")
    assert look(root, tmp_path).file.read_bytes() == b"w"


def test_a_plain_folder_with_one_model_and_with_several(root: Path, tmp_path: Path) -> None:
    put(root, README=b"text", deep__model_dot_txt=TREE, requirements_dot_txt="numpy")
    assert look(root, tmp_path).file == root / "deep" / "model.txt"
    put(root, other_dot_cbm=CBM)
    with pytest.raises(UnknownFormat, match=r"2 model files: .*other\.cbm"):
        look(root, tmp_path)


def test_a_folder_of_links_and_one_of_pointers(root: Path, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_bytes(TREE)
    (root / "model.txt").symlink_to(tmp_path / "model.txt")
    with pytest.raises(UnknownFormat, match="without a model"):
        look(root, tmp_path)
    put(root, model_dot_onnx=LFS)
    with pytest.raises(InvalidFile, match=r"Git LFS pointer.*12345 bytes"):
        look(root, tmp_path)


def test_models_are_no_layouts(root: Path, tmp_path: Path) -> None:
    put(root, saved_model_dot_pb=b"x")
    assert look_inside(root, tmp_path) is None
    assert look_inside(tmp_path / "absent", tmp_path) is None


def test_layouts_in_layouts(root: Path, tmp_path: Path) -> None:
    put(root, model__MLmodel="flavors:\n  lightgbm:\n    data: m.txt\n", model__m_dot_txt=TREE)
    (root / "model-settings.json").write_text('{"parameters": {"uri": "model"}}')
    found = look(root, tmp_path)
    assert found.file == root / "model" / "m.txt"
    assert found.layout.count(";") == 1


def test_too_many_files_are_not_looked_at(root: Path, tmp_path: Path) -> None:
    for number in range(5001):
        (root / f"f{number}").touch()
    with pytest.raises(TooLarge):
        look(root, tmp_path)


WRITTEN = r"""
a:
- x
- b: it's  # a comment
  c:
  - 1
  - []
colon: 'a: b'
dq: "tab\there \xE9 \\ end x x x\
  \ x x"
e: {}
l: []
long: word word
  word end
n: null
nested:
  deep:
    er:
    - p
quoted: '- no item: ''x'' "y" w
  w w'
s: 'true'
t: true
text: |
  one
  two
"""


def test_yaml_as_tools_write_it() -> None:
    assert read_yaml(WRITTEN, place="x") == {
        "a": ["x", {"b": "it's", "c": ["1", []]}],
        "colon": "a: b",
        "dq": "tab\there é \\ end x x x x x",
        "e": {},
        "l": [],
        "long": "word word word end",
        "n": None,
        "nested": {"deep": {"er": ["p"]}},
        "quoted": "- no item: 'x' \"y\" w w w",
        "s": "true",
        "t": True,
        "text": "one\ntwo",
    }


@pytest.mark.parametrize(
    "text", ["a: &x 1\nb: *x", "a: !!python/object/apply:os.mkdir [x]", "? a", "a: 1\na: 2", "- a", "a:\n  - b\n c: d", "a: 'x"]
)
def test_yaml_that_could_be_more_is_refused(text: str) -> None:
    with pytest.raises(InvalidFile):
        read_yaml(text, place="x")


@given(st.text(alphabet=' a1{}[]:,"\\#\n<>', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for reader in (read_protobuf_text, read_yaml):
        with contextlib.suppress(InvalidFile):
            reader(text, place="x")

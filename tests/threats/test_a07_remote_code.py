"""A7, code in Hugging Face folders: every way by which a folder asks for Python of its own is refused by name, before torch and transformers are imported, trusted
or not, also where asserts are left out; nothing of the folder runs.

What `--trust` lets through is loaded with `weights_only`, which tests/frameworks/test_huggingface.py shows.
"""

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.threats.commands import Done, run, run_all, tree

from aweigh.core.errors import AweighError
from aweigh.packing.frameworks.huggingface_folder import judge

CONFIG: dict[str, Any] = {"architectures": ["BertModel"], "model_type": "bert", "vocab_size": 4}
EVIL = "import pathlib\npathlib.Path({place!r}).touch()\n\n\nclass Evil:\n    pass\n"
LIBRARIES = ("torch", "transformers", "onnxscript")
"""Put in place of the real ones, each tells when it is imported."""


class Payload:
    """What a pickle runs when it is read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (open, (str(self.place), "w"))


def safetensors() -> bytes:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0\0\0\0"


def folder_of(place: Path, sentinel: Path, files: dict[str, Any]) -> Path:
    """A model with these files beside or instead of its own: JSON, bytes, None for none; `evil` in a name is code that leaves the sentinel."""
    place.mkdir(parents=True)
    made = {"config.json": CONFIG, "model.safetensors": safetensors(), "tokenizer.json": {"version": "1.0"}, **files}
    for name, content in made.items():
        (place / name).parent.mkdir(exist_ok=True, parents=True)
        if name.endswith(".py"):
            (place / name).write_text(EVIL.format(place=str(sentinel)))
        elif content == "payload":
            (place / name).write_bytes(pickle.dumps(Payload(sentinel)))
        elif content is not None:
            (place / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return place


def config(**more: Any) -> dict[str, Any]:
    return {**CONFIG, **more}


MAPPED = {"AutoConfig": "configuration_evil.Evil", "AutoModel": "modeling_evil.Evil"}
HOSTILE: dict[str, tuple[dict[str, Any], str, str]] = {
    "auto_map": ({"config.json": config(auto_map=MAPPED), "modeling_evil.py": None}, "unsupported", "config.json: 'auto_map'"),
    "auto_map alone": ({"config.json": config(auto_map=MAPPED), "evil.py": None}, "unsupported", "config.json: 'auto_map'"),
    "auto_map of a hub": ({"config.json": config(auto_map={"AutoModel": "someone/evil--modeling_evil.Evil"})}, "unsupported", "'auto_map'"),
    "nested": ({"config.json": config(text_config={"auto_map": MAPPED}), "evil.py": None}, "unsupported", "config.json.text_config: 'auto_map'"),
    "in a list": ({"config.json": config(experts=[{}, {"deep": [{"auto_map": MAPPED}]}])}, "unsupported", "config.json.experts[1].deep[0]: 'auto_map'"),
    "tokenizer": ({"tokenizer_config.json": {"auto_map": ["tokenization_evil.Evil", None]}, "evil.py": None}, "unsupported", "tokenizer_config.json: 'auto_map'"),
    "processor": ({"preprocessor_config.json": {"auto_map": {"AutoProcessor": "evil.Evil"}}}, "unsupported", "preprocessor_config.json: 'auto_map'"),
    "processor's part": ({"processor_config.json": {"image_processor": {"auto_map": {"AutoImageProcessor": "evil.Evil"}}}}, "unsupported", "processor_config.json.image_processor"),
    "trust smuggled": ({"config.json": config(trust_remote_code=True)}, "unsupported", "'trust_remote_code'"),
    "trust smuggled deeper": ({"config.json": config(vision_config={"kwargs": {"trust_remote_code": "yes"}})}, "unsupported", "config.json.vision_config.kwargs: 'trust_remote_code'"),
    "trust by a tokenizer": ({"tokenizer_config.json": {"trust_remote_code": 1}}, "unsupported", "tokenizer_config.json: 'trust_remote_code'"),
    "pipelines": ({"config.json": config(custom_pipelines={"evil": {"impl": "evil.Evil"}})}, "unsupported", "'custom_pipelines'"),
    "class without a map": ({"tokenizer_config.json": {"tokenizer_class": "EvilTokenizer"}, "tokenization_evil.py": None}, "unsupported", "tokenization_evil.py is code"),
    "code beside": ({"modeling_evil.py": None}, "unsupported", "modeling_evil.py is code"),
    "kernel of a hub": ({"config.json": config(attn_implementation="someone/kernel")}, "unsupported", "'attn_implementation' names code elsewhere"),
    "kernel of a part": ({"config.json": config(_attn_implementation_internal={"": "someone/kernel@main:f"})}, "unsupported", "names code elsewhere"),
    "module of one's own": ({"modules.json": [{"type": "modeling_evil.Transformer", "path": ""}]}, "unsupported", "modules.json"),
    "adapter": ({"adapter_config.json": {"base_model_name_or_path": "someone/evil", "auto_mapping": {"parent_library": "evil"}}}, "unsupported", "adapter"),
    "pickle": ({"model.safetensors": None, "pytorch_model.bin": "payload"}, "not-trusted", "pytorch_model.bin"),
    "pickle in parts": (
        {"model.safetensors": None, "pytorch_model.bin.index.json": {"weight_map": {"a": "part-1.bin"}}, "part-1.bin": "payload"}, "not-trusted", "pytorch_model.bin.index.json",
    ),
    "pickle by another name": ({"model.safetensors": "payload"}, "invalid-file", "no safetensors"),
    "pickle as a part": ({"model.safetensors": None, "model.safetensors.index.json": {"weight_map": {"a": "x.bin"}}, "x.bin": "payload"}, "invalid-file", "x.bin"),
    "part elsewhere": ({"model.safetensors": None, "model.safetensors.index.json": {"weight_map": {"a": "../plain/model.safetensors"}}}, "invalid-file", "../plain"),
    "words elsewhere": ({"tokenizer_config.json": {"tokenizer_file": "/etc/hostname"}}, "invalid-file", "'tokenizer_file' lies outside"),
    "settings without end": ({"config.json": b'{"a":' * 100_000}, "invalid-file", "config.json"),
    "settings too deep": ({"config.json": b'{"a":' * 900 + b"1" + b"}" * 900}, "invalid-file", "config.json"),
    "two settings": ({"config.json": b'{"architectures": ["BertModel"]}{"auto_map": {}}'}, "invalid-file", "config.json"),
    "pointer": ({"model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"}, "invalid-file", "Git LFS pointer"),
}  # fmt: skip


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "ran"


BY_COMMAND = (
    "auto_map",
    "nested",
    "tokenizer",
    "trust smuggled",
    "class without a map",
    "kernel of a hub",
    "module of one's own",
    "pickle",
)
"""Those that the command is shown too; the verdict is the same function."""


def told_by(tmp_path: Path) -> dict[str, str]:
    """An environment whose torch and transformers leave a mark when they are imported."""
    for name in LIBRARIES:
        (tmp_path / "libraries" / name).mkdir(parents=True)
        (tmp_path / "libraries" / name / "__init__.py").write_text(EVIL.format(place=str(tmp_path / f"imported-{name}")))
    return {"PYTHONPATH": str(tmp_path / "libraries"), "PYTHONOPTIMIZE": "1"}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_verdict_names_what_it_is(name: str, tmp_path: Path, sentinel: Path) -> None:
    files, code, said = HOSTILE[name]
    folder = folder_of(tmp_path / "model", sentinel, files)
    for trust in (False, True) if code != "not-trusted" else (False,):
        with pytest.raises(AweighError) as caught:
            judge(folder, trust=trust)
        assert (caught.value.code, said in caught.value.message) == (code, True), caught.value.message
        assert caught.value.hint
    assert not sentinel.exists()


def test_the_command_refuses_each_before_any_library_is_imported_without_asserts(tmp_path: Path, sentinel: Path) -> None:
    folders = {name: folder_of(tmp_path / "models" / str(at) / "model", sentinel, HOSTILE[name][0]) for at, name in enumerate(BY_COMMAND)}
    before = tree(tmp_path / "models")
    environment = told_by(tmp_path)
    trusted = {name: ["--trust"] if HOSTILE[name][1] != "not-trusted" else [] for name in BY_COMMAND}
    ended = run_all(
        tmp_path / "home",
        {name: ["pack", str(folder), "--name", "evil", *trusted[name]] for name, folder in folders.items()},
        **environment,
    )
    wrong = {
        name: (done.code, done.error, done.said[-300:])
        for name, done in ended.items()
        if not _refused(done, HOSTILE[name][1], HOSTILE[name][2])
    }
    assert not wrong
    assert not sentinel.exists()
    assert not list(tmp_path.glob("imported-*"))
    assert tree(tmp_path / "models") == before, "nothing was written into the folders, no bytecode either"


def test_no_environment_is_made_for_a_folder_that_is_refused(tmp_path: Path, sentinel: Path) -> None:
    """Where transformers is not installed, the verdict comes before gigabytes do."""
    folder = folder_of(tmp_path / "model", sentinel, HOSTILE["nested"][0])
    done = run(tmp_path / "home", "pack", str(folder), "--name", "evil", "--trust", HOME=str(tmp_path / "person"))
    assert _refused(done, "unsupported", "'auto_map'"), done
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("huggingface-")]
    assert not sentinel.exists()


def _refused(done: Done, code: str, said: str) -> bool:
    return done.code != 0 and done.error.get("code") == code and said in str(done.error.get("message"))


def test_the_mark_is_left_where_a_folder_is_harmless(tmp_path: Path, sentinel: Path) -> None:
    """That an import would have been seen."""
    folder = folder_of(tmp_path / "model", sentinel, {})
    done = run(tmp_path / "home", "pack", str(folder), "--name", "plain", **told_by(tmp_path))
    assert done.code != 0
    assert (tmp_path / "imported-torch").exists()

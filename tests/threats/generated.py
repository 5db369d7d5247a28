"""The structure of what targets render, by a real parser for each kind of file: what is left when every value is forgotten."""

import ast
import configparser
import io
import json
import re
import shlex
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from aweigh.core.protobuf_text import read_protobuf_text
from aweigh.deploy.properties import read_properties
from aweigh.deploy.target import Rendered

OPAQUE = {".onnx", ".tensors", ".pb", ".pt", ".so", ".pyc", ".whl", ".data-00000-of-00001", ".index"}
MARK = "\u25a0"


def structure(rendered: Rendered, token: str) -> dict[str, Any]:
    """Of every file, and of the commands that a person is told."""
    found = {_without(name, token): _file(name, content, token) for name, content in rendered.files.items()}
    return {**found, "commands": [len(shlex.split(line)) for line in rendered.commands]}


def _file(name: str, content: bytes | Path, token: str) -> Any:
    path = PurePosixPath(name)
    if path.suffix in OPAQUE or (isinstance(content, Path) and ".so." in path.name):
        return "bytes"
    data = content if isinstance(content, bytes) else content.read_bytes()
    parse = BY_NAME.get(path.name) or BY_SUFFIX.get(path.suffix)
    assert parse is not None, f"no parser for {name}: add one to tests/threats/generated.py"
    return shape(parse(data), token)


def shape(data: Any, token: str) -> Any:
    """Keys, lengths and kinds; JSON in a text counts as what it holds."""
    if isinstance(data, Mapping):
        return {_without(str(key), token): shape(value, token) for key, value in sorted(data.items(), key=lambda item: str(item[0]))}
    if isinstance(data, list | tuple):
        return [shape(each, token) for each in data]
    if isinstance(data, str) and data[:1] in {"{", "["} and data != token:
        try:
            return shape(json.loads(data), token)
        except json.JSONDecodeError:
            return "str"
    return type(data).__name__


def _without(text: str, token: str) -> str:
    return text.replace(token, MARK) if token else text


def _yaml(data: bytes) -> Any:
    return list(yaml.safe_load_all(data))


def _pbtxt(data: bytes) -> Any:
    text_format.Parse(data, model_config_pb2.ModelConfig())
    return read_protobuf_text(data.decode(), place="made")


def _archive(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: json.loads(archive.read(name)) if name.endswith(".json") else 0 for name in archive.namelist()}


def _dockerfile(data: bytes) -> Any:
    joined = re.sub(r"\\\n", " ", data.decode())
    lines = [line.strip() for line in joined.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    return [_instruction(line) for line in lines]


def _instruction(line: str) -> Any:
    word, _, rest = line.partition(" ")
    if rest.lstrip().startswith("["):
        return [word, json.loads(rest)]
    return [word, len(shlex.split(rest)) * "x" if word in {"ENV", "LABEL"} else ""]


def _unit(data: bytes) -> Any:
    """A unit of systemd: its sections and keys, in order; words of what is run."""
    joined = re.sub(r"\\\n", " ", data.decode())
    found: list[Any] = []
    for line in joined.split("\n"):
        if line.startswith("["):
            found.append([line])
        elif line.strip() and line[0] not in "#;":
            key, equals, value = line.partition("=")
            assert equals, line
            found.append([key, len(shlex.split(value)) if key.startswith("Exec") else 0])
    return [[each[0], "x" * each[1] if len(each) > 1 else ""] for each in found] and {
        f"{at} {each[0]} {each[1] if len(each) > 1 else ''}": 0 for at, each in enumerate(found)
    }


def _python(data: bytes) -> Any:
    tree = ast.parse(data)
    return {f"{at} {type(node).__name__}": 0 for at, node in enumerate(ast.walk(tree))}


def _lines(data: bytes) -> Any:
    return [0 for line in data.decode().split("\n") if line and not line.startswith("#")]


def _environment(data: bytes) -> Any:
    return {line.partition("=")[0]: 0 for line in data.decode().split("\n") if line and not line.startswith("#")}


def _ini(data: bytes) -> Any:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(data.decode())
    return {section: dict(parser[section]) for section in parser.sections()}


def _shell(data: bytes) -> Any:
    return len(shlex.split(data.decode(), comments=True)) * [0]


def _protobuf(data: bytes) -> Any:
    return read_protobuf_text(data.decode(), place="made")


BY_SUFFIX: dict[str, Callable[[bytes], Any]] = {
    ".yaml": _yaml, ".yml": _yaml, ".json": json.loads, ".pbtxt": _pbtxt, ".config": _protobuf, ".mar": _archive, ".py": _python, ".txt": _lines, ".env": _environment,
    ".properties": lambda data: read_properties(data.decode()), ".service": _unit, ".socket": _unit, ".toml": lambda data: tomllib.loads(data.decode()), ".conf": _ini,
    ".sh": _shell, ".md": lambda _: 0, ".zip": _archive, ".dockerfile": _dockerfile,
}  # fmt: skip
BY_NAME: dict[str, Callable[[bytes], Any]] = {
    "MLmodel": _yaml,
    "Dockerfile": _dockerfile,
    ".env": _environment,
    ".dockerignore": _lines,
    ".gcloudignore": _lines,
    "user-data": _yaml,
    "meta-data": _yaml,
}

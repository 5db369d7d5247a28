"""The verdict on a Keras configuration: every class and function that it names is one that runs no code of the file's and reads no other file.

Called by `keras_judge.py`. Reads JSON; imports and deserialises nothing of what it names.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from aweigh.core.errors import InvalidFile, NotTrusted

MAX_CONFIG_BYTES: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 200
_SPECIAL: Final = frozenset(
    {"__keras_tensor__", "__tensor__", "__numpy__", "__ellipsis__", "__slice__", "__bytes__", "__bfloat16__", "__complex__", "__tuple__"}
) | {"TensorShape"}
"""What Keras writes for values that are no objects; `__lambda__` (marshalled code) is not among them."""
_FUNCTION: Final = "function"
_SAVE_OTHERWISE: Final = (
    "pass --trust if you made this file yourself, or call model.export('FOLDER') where it was trained and pack the SavedModel"
)


def parse(path: Path, raw: Any) -> Any:
    """The configuration as JSON. Raises InvalidFile."""
    if isinstance(raw, str | bytes) and len(raw) > MAX_CONFIG_BYTES:
        raise InvalidFile(f"{path.name}: a configuration of more than {MAX_CONFIG_BYTES} bytes")
    try:
        return json.loads(raw)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidFile(f"{path.name}: its configuration is no JSON: {error}", hint="save the model again") from error


def judge_config(path: Path, config: Any, *, trust: bool) -> None:
    """Raise NotTrusted for the first name that is not among those known, with its place; InvalidFile for what is no model's configuration."""
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise InvalidFile(f"{path.name}: its configuration names no model", hint="save the model again with model.save")
    if trust:
        return
    # the training side (optimizer, loss, metrics) of the outermost model is never loaded
    for place, found in _dicts({key: value for key, value in config.items() if key != "compile_config"}, "$", 0, path):
        why = _why_refused(found)
        if why:
            raise NotTrusted(f"{path.name}: loading it would {why} ({place})", hint=_SAVE_OTHERWISE, place=place)


def _dicts(value: Any, place: str, depth: int, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if depth > MAX_DEPTH:
        raise InvalidFile(f"{path.name}: its configuration is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        yield place, value
        for key, inner in value.items():
            yield from _dicts(inner, f"{place}.{key}", depth + 1, path)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _dicts(inner, f"{place}[{at}]", depth + 1, path)


def _why_refused(found: dict[str, Any]) -> str:
    """What is wrong with one dictionary of the configuration; "" where nothing is."""
    vocabulary = found.get("vocabulary")
    if isinstance(vocabulary, str):
        return f"read the file {vocabulary[:200]!r} as a vocabulary"
    if "class_name" not in found:
        return ""
    name, module = found["class_name"], found.get("module")
    if not isinstance(name, str) or not isinstance(module, str | None):
        return f"look up {str(name)[:200]!r} in {str(module)[:200]!r}, which are no names"
    if name in _SPECIAL:
        return ""
    if name == "__lambda__" or name == "Lambda":
        return "run Python code that a Lambda layer brings along"
    if name == _FUNCTION:
        called = found.get("config")
        known = module in {None, "builtins", "keras.activations"} and isinstance(called, str) and called in _KNOWN["keras.activations"]
        return "" if known else f"look up the function {module}.{str(called)[:200]}, which is not among those that Keras models need"
    if module is None:
        return "" if name in _EVERY else f"look up the class {name[:200]!r}, which is not one of Keras' own"
    return "" if name in _KNOWN.get(module, ()) else f"import {module[:200]}.{name[:200]}, which is not one of Keras' own classes"


def _known() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    module = ""
    for line in Path(__file__).with_name("keras_classes.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        names = line
        if not line.startswith(" "):
            module, _, names = line.partition(":")
        found[module] = found.get(module, frozenset()) | frozenset(names.split())
    return found


_KNOWN: Final = _known()
_EVERY: Final = frozenset().union(*_KNOWN.values())
"""For files of before Keras 3, which name classes without modules."""

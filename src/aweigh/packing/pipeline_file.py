"""What a person writes of a pipeline: a TOML file with `[[step]]`s, or the same as a mapping. Read here, understood by `pipeline_graph`.

Reading runs nothing and trusts nothing: the file is text of bounded size, unknown keys are refused with the nearest known one.
"""

import inspect
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from aweigh.core.errors import InvalidFile, InvalidInput, TooLarge
from aweigh.core.nearest import nearest
from aweigh.core.tensors import Datatype

MAX_BYTES: Final = 1024 * 1024
_HEAD: Final = 64 * 1024
_STEP: Final = re.compile(rb"^[ \t]*\[\[[ \t]*step[ \t]*\]\]", re.MULTILINE)


class StepText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[step]]`: exactly one of model, function and combine."""

    name: str
    model: str = ""
    """A package of the store: NAME, NAME:VERSION or NAME@ALIAS; the version that it means now is the one that is meant for ever."""
    function: str = ""
    """FILE.py:FUNCTION, beside the pipeline's own file."""
    combine: str = ""
    inputs: str | list[str] | dict[str, str] = []
    weights: list[float] = []
    when: str = ""
    otherwise: str | list[str] = []


class InputText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of `[inputs]`, needed only where nothing else says what a tensor of the request is."""

    datatype: Datatype
    shape: list[int | str]


class Definition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    step: list[StepText]
    description: str = ""
    inputs: dict[str, InputText] = {}
    outputs: dict[str, str] = {}
    """What is answered, and from where; left out, what the last step gives."""


def is_pipeline_text(path: Path) -> bool:
    """Whether a file is the text of a pipeline, by its content: it begins a `[[step]]` within its first part."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return b"\0" not in head and _STEP.search(head) is not None


def read_definition(source: object) -> tuple[Definition, Path] | None:
    """The definition and the folder that its functions are looked up in; None for what is no pipeline. Raises InvalidFile, InvalidInput."""
    if isinstance(source, Mapping):
        return (_definition(_plain(source), "the pipeline"), Path.cwd()) if "step" in source else None
    if not isinstance(source, str | Path) or not is_pipeline_text(Path(source)):
        return None
    path = Path(source)
    if path.stat().st_size > MAX_BYTES:
        raise TooLarge(f"{path}: a pipeline of {path.stat().st_size} bytes", hint=f"{MAX_BYTES} bytes are read at most")
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidFile(f"{path}: not TOML: {error}", hint="a pipeline is a TOML file with [[step]]s") from error
    return _definition(found, str(path)), path.absolute().parent


def _definition(found: Mapping[str, Any], place: str) -> Definition:
    _check_keys(found, Definition, place)
    steps = found.get("step")
    for at, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, Mapping):
            _check_keys(step, StepText, f"{place}: step {step.get('name', at)!r}")
    try:
        return msgspec.convert(found, Definition)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{place}: {error}", hint="docs/guides/pipelines.md shows every key") from error


def _check_keys(found: Mapping[str, Any], kind: type[msgspec.Struct], place: str) -> None:
    for key in found:
        if key not in kind.__struct_fields__:
            near = nearest(str(key), kind.__struct_fields__)
            known = ", ".join(kind.__struct_fields__)
            raise InvalidInput(f"{place} has an unknown key '{key}'", hint=f"did you mean '{near}'?" if near else f"there are: {known}")


def _plain(source: Mapping[Any, Any]) -> dict[str, Any]:
    """A mapping whose functions may be functions."""
    made = dict(source)
    steps = made.get("step")
    if isinstance(steps, list | tuple):
        made["step"] = [_plain_step(step) if isinstance(step, Mapping) else step for step in steps]
    return made


def _plain_step(step: Mapping[Any, Any]) -> dict[str, Any]:
    function = step.get("function")
    if not callable(function):
        return dict(step)
    name = getattr(function, "__qualname__", "")
    try:
        file = inspect.getsourcefile(function)
    except TypeError:  # built in, or an object that can be called
        file = None
    if file is None or not name.isidentifier():
        raise InvalidInput(
            f"step {step.get('name')!r}: {name or function!r} is no function of a file", hint="define it at the top of a .py file"
        )
    return {**step, "function": f"{Path(file).absolute()}:{name}"}

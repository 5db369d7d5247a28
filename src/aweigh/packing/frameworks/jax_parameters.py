"""Reads files of JAX parameters as plain arrays, and binds them to what the person's factory makes. Called by `jax.py`, the factory only after the file was judged.

Readers of its own: lengths are held to the file, only numbers are taken, and nothing in a file can name code.
"""

import dataclasses
import functools
import importlib
import inspect
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np

from aweigh.core.errors import AweighError, InvalidFile, InvalidInput
from aweigh.packing.frameworks.jax_function import Answering, answering, inputs_of
from aweigh.packing.jax_parameters import form_of

Tree = dict[str, Any]
_SAFETENSORS: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
}  # fmt: skip
_PLAIN: Final = frozenset(_SAFETENSORS.values())
_MAX_HEADER: Final = 100 * 1024 * 1024
_CHUNKED: Final = "__msgpack_chunked_array__"
_ARRAY, _SCALAR = 1, 3
_SHOWN: Final = 6
_SAID: Final = 300
_KEY: Final = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Arrays of a judged file, in the nesting that their names tell."""

    path: Path
    tree: Tree


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def read_parameters(path: Path) -> Parameters:
    """The arrays of a safetensors, .npz or Flax msgpack file. Raises InvalidFile."""
    readers = {"safetensors": _safetensors, "npz": _npz, "msgpack": _msgpack}
    try:
        tree = readers[form_of(path)](path)
    except AweighError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        RecursionError,
        zipfile.BadZipFile,
        zlib.error,
        msgspec.MsgspecError,
    ) as error:
        raise InvalidFile(f"{path.name}: not readable parameters: {str(error)[:_SAID]}", hint="save them again") from error
    if not jax.tree_util.tree_leaves(tree):
        raise InvalidFile(f"{path.name}: holds no arrays", hint="save the model's parameters")
    return Parameters(path=path, tree=tree)


def _safetensors(path: Path) -> Tree:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if length > min(_MAX_HEADER, len(data) - 8):
        raise InvalidFile(f"{path.name}: a header of {length} bytes in a file of {len(data)}", hint="copy or save the file again")
    header = msgspec.json.decode(data[8 : 8 + length], type=dict[str, msgspec.Raw])
    body = memoryview(data)[8 + length :]
    flat: dict[str, Any] = {}
    for name, said in header.items():
        if name != "__metadata__":
            entry = msgspec.json.decode(said, type=_Entry)
            begin, end = entry.data_offsets
            if not 0 <= begin <= end <= len(body):
                raise InvalidFile(f"{path.name}: '{name}' lies outside the file", hint="copy or save the file again")
            flat[name] = _array(path, name, _SAFETENSORS.get(entry.dtype, entry.dtype), entry.shape, body[begin:end])
    return _nested(path, flat)


def _npz(path: Path) -> Tree:
    with np.load(path, allow_pickle=False) as archive:
        flat = {name: archive[name] for name in archive.files}
    for name, array in flat.items():
        if str(array.dtype) not in _PLAIN:
            raise InvalidFile(f"{path.name}: '{name}' holds {array.dtype}, no numbers", hint="save arrays of numbers")
    return _nested(path, flat)


def _msgpack(path: Path) -> Tree:
    def extension(code: int, data: memoryview) -> Any:
        if code not in {_ARRAY, _SCALAR}:
            raise InvalidFile(f"{path.name}: holds something of kind {code} that is no array of numbers", hint="save parameters alone")
        shape, dtype, content = msgspec.msgpack.decode(data, type=tuple[tuple[int, ...], str, bytes])
        return _array(path, "an array", dtype, shape, content)

    found = msgspec.msgpack.decode(path.read_bytes(), type=dict[str, Any], ext_hook=extension)
    return {name: _joined(path, value) for name, value in found.items()}


def _joined(path: Path, value: Any) -> Any:
    """Arrays that were written in pieces as one; what is no array and holds none is left out."""
    if not isinstance(value, dict):
        return value
    if value.get(_CHUNKED):
        pieces = list(value["chunks"].values())
        shape = tuple(int(size) for size in value["shape"].values())
        if sum(piece.size for piece in pieces) != math.prod(shape):
            raise InvalidFile(f"{path.name}: an array in pieces that do not make {shape}", hint="save them again")
        return np.concatenate([piece.reshape(-1) for piece in pieces]).reshape(shape)
    return {str(name): _joined(path, each) for name, each in value.items() if isinstance(each, dict | np.ndarray)}


def _array(path: Path, name: str, dtype: str, shape: Sequence[int], content: memoryview | bytes) -> Any:
    """An array whose bytes are as many as its shape says."""
    if dtype not in _PLAIN:
        raise InvalidFile(f"{path.name}: {name} holds {dtype[:40]}, no numbers that JAX takes", hint="save arrays of numbers")
    kind = np.dtype(jnp.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    if any(size < 0 for size in shape) or math.prod(shape) * kind.itemsize != len(content):
        raise InvalidFile(f"{path.name}: {name} has {len(content)} bytes for shape {list(shape)}", hint="copy or save the file again")
    return np.frombuffer(content, kind).reshape(shape)


def _nested(path: Path, flat: Mapping[str, Any]) -> Tree:
    """By '/' in the names, else by '.'."""
    mark = "/" if any("/" in name for name in flat) else "."
    tree: Tree = {}
    for name, array in flat.items():
        *parents, last = name.split(mark)
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InvalidFile(f"{path.name}: '{name}' lies within another array", hint="save them again")
        if last in place:
            raise InvalidFile(f"{path.name}: '{name}' is an array and holds others", hint="save them again")
        place[last] = array
    return tree


def with_parameters(parameters: Parameters, factory: str) -> Answering:
    """What the factory makes, with these parameters. Raises InvalidInput that names what does not fit."""
    made = _made(factory)
    note = f"parameters of {parameters.path.name} in what {factory} makes"
    if isinstance(made, flax.nnx.Module):
        found = answering(_restored(made, parameters.tree, factory))
    elif isinstance(made, flax.linen.Module):
        found = _of_linen(made, parameters.tree, factory)
    elif callable(made):
        found = answering((made, _with_lists(parameters.tree)))
    else:
        raise InvalidInput(
            f"--class {factory} makes a {type(made).__name__}, no Flax module and no function",
            hint="name a Flax module, a function that makes one, or a function of parameters and inputs",
        )
    return dataclasses.replace(found, notes=(note, *found.notes))


def _made(factory: str) -> Any:
    """What `module:factory` is: a module, what makes one when called with nothing, or a function that wants the parameters."""
    name, colon, attribute = factory.partition(":")
    if not colon or not name or not attribute.isidentifier():
        raise InvalidInput(f"--class {factory!r} is not of the form module:factory", hint="for example --class models:Classifier")
    try:
        found = getattr(importlib.import_module(name), attribute)
        if not callable(found) or isinstance(found, flax.linen.Module | flax.nnx.Module):
            return found
        wanted = _wanted(found)
        if wanted and not isinstance(found, type):
            return found
        return found(**{each: flax.nnx.Rngs(_KEY) for each in wanted if each == "rngs"})  # the chance in it is written over
    except AweighError:
        raise
    except Exception as error:  # boundary: a person's code may raise anything
        raise InvalidInput(
            f"--class {factory} cannot be made: {type(error).__name__}: {str(error)[:_SAID]}",
            hint="run from the folder that holds the module; a class is called with nothing: write a function that gives it what it takes",
        ) from error


def _wanted(function: Any) -> list[str]:
    """The parameters that it must be given; a class's are those of its `__init__`, since metaclasses hide them."""
    of_class = isinstance(function, type)
    try:
        signature = inspect.signature(function.__init__ if of_class else function)
    except (TypeError, ValueError):
        return []
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = list(signature.parameters.values())[1 if of_class else 0 :]
    return [each.name for each in parameters if each.default is each.empty and each.kind not in open_ended]


def _restored(module: Any, tree: Tree, factory: str) -> Any:
    """An nnx module whose variables are those of the file."""
    own = {"/".join(map(str, path)): variable for path, variable in _variables(module)}
    given = _flat(tree)
    if given and not set(given) & set(own) and all(name.endswith("/value") for name in given):
        given = {name.removesuffix("/value"): array for name, array in given.items()}
    _check_names(set(own), set(given), factory)
    for name, variable in own.items():
        _check_shape(name, variable[...].shape, given[name].shape, factory)
        variable[...] = jnp.asarray(given[name], variable[...].dtype)
    return module


def _variables(module: Any) -> list[tuple[Any, Any]]:
    """What an nnx module has learnt, by path; where it stands in a sequence of chance is nothing learnt."""
    return [(path, node) for path, node in flax.nnx.iter_graph(module) if isinstance(node, flax.nnx.Param | flax.nnx.BatchStat)]


def _of_linen(module: Any, tree: Tree, factory: str) -> Answering:
    variables = tree if "params" in tree else {"params": tree}
    variables = {name: value for name, value in variables.items() if isinstance(value, dict) and name != "opt_state"}
    found = answering((module, variables))
    return dataclasses.replace(found, check=functools.partial(_check_linen, module, variables, factory))


def _check_linen(module: Any, variables: Mapping[str, Any], factory: str, shapes: Sequence[Any]) -> None:
    """Raise InvalidInput where the module would make other parameters for such inputs than these."""
    keys = {"params": jax.random.key(_KEY), "dropout": jax.random.key(_KEY)}
    _, switches = inputs_of(module.__call__)
    expected = jax.eval_shape(lambda *inputs: module.init(keys, *inputs, **switches), *shapes)
    own, given = _flat(expected["params"]) if "params" in expected else {}, _flat(variables["params"])
    _check_names(set(own), set(given), factory)
    for name, leaf in own.items():
        _check_shape(name, leaf.shape, given[name].shape, factory)


def _check_names(own: set[str], given: set[str], factory: str) -> None:
    missing, unexpected = sorted(own - given), sorted(given - own)
    if missing or unexpected:
        raise InvalidInput(
            f"the parameters are not those of what {factory} makes: missing {', '.join(missing[:_SHOWN]) or 'none'}; "
            f"unexpected {', '.join(unexpected[:_SHOWN]) or 'none'}",
            hint="name the class or function that the parameters were saved from",
        )


def _check_shape(name: str, own: Sequence[int], given: Sequence[int], factory: str) -> None:
    if tuple(own) != tuple(given):
        raise InvalidInput(
            f"the parameter '{name}' has shape {list(given)}, what {factory} makes has {list(own)}",
            hint="make it with the sizes it was trained with",
        )


def _flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Arrays by their names, joined by '/'."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}/")
        else:
            found[f"{before}{name}"] = value
    return found


def _with_lists(tree: Any) -> Any:
    """The tree as a function of the person's own takes it: what is named 0, 1, 2, … is a list."""
    if not isinstance(tree, dict):
        return tree
    inner = {name: _with_lists(value) for name, value in tree.items()}
    return [inner[str(at)] for at in range(len(inner))] if set(inner) == {str(at) for at in range(len(inner))} else inner

"""JAX as a runtime: an exported program (`jax.export`) answers by itself, compiled for the sizes that come. Its row says `runs_code`: it has a process of its own.

A program is StableHLO, which is arithmetic, but it may call functions of the process by name and address. Each is judged before it runs, at every load.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.interpreters import mlir

from aweigh.core.errors import AweighError, FileMissing, InvalidFile, InvalidInput, Unsupported
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Datatype, Tensor, Tensors

_DIALECTS: Final = frozenset({"builtin", "func", "stablehlo", "chlo", "sdy"})
_OUTSIDE: Final = frozenset({"stablehlo.infeed", "stablehlo.outfeed", "stablehlo.send", "stablehlo.recv"})
_CALLS: Final = frozenset(
    {
        "Sharding",
        "SPMDFullToShardShape",
        "SPMDShardToFullShape",
        "annotate_device_placement",
        "AllocateBuffer",
        "shape_assertion",
        "stablehlo.dynamic_reduce_window",
        "stablehlo.dynamic_rng_bit_generator",
        "stablehlo.dynamic_top_k",
        "mhlo.topk",
    }
)
"""Calls that the compiler itself resolves; beside these, linear algebra on the processor."""
_LINEAR_ALGEBRA: Final = re.compile(r"lapack_[a-z0-9]{4,10}(_ffi)?")


class JaxRuntime:
    """Loads `variant.files[0]`, a serialized `jax.export.Exported`."""

    name = "jax"

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Judge and load. Raises FileMissing, InvalidFile, Unsupported."""
        if not variant.files:
            raise InvalidFile(f"variant '{variant.name}' lists no file to load")
        return JaxSession(judged(path(variant.files[0])), signature)


def judged(path: Path) -> jax.export.Exported:
    """Read a program and refuse by name whatever it does beside arithmetic on this machine's processor."""
    try:
        data = bytearray(path.read_bytes())
    except OSError as error:
        raise FileMissing(f"{path.name} cannot be read: {error.strerror}") from error
    try:
        program = jax.export.deserialize(data)
        with mlir.make_ir_context():
            calls = _calls(program.mlir_module(serialized=False))
    except AweighError:
        raise
    except Exception as error:  # the reader of a format that promises nothing for damaged files raises anything
        raise InvalidFile(
            f"{path.name}: not a readable JAX program: {type(error).__name__}: {str(error)[:300]}", hint="export it again with jax.export"
        ) from error
    strange = [call for call in calls if call not in _CALLS and not _LINEAR_ALGEBRA.fullmatch(call)]
    if strange:
        raise Unsupported(
            f"{path.name}: the program calls {', '.join(repr(call[:100]) for call in strange[:5])}, which is no part of it",
            hint="export a function without callbacks and kernels of its own",
            calls=", ".join(strange[:20]),
        )
    if "cpu" not in program.platforms or program.nr_devices != 1:
        raise Unsupported(
            f"{path.name}: the program is for {program.nr_devices} x {'/'.join(program.platforms)}",
            hint="export it with jax.export.export(function, platforms=['cpu'])",
        )
    if program.ordered_effects or program.unordered_effects:
        raise Unsupported(f"{path.name}: the program does more than answer: {program.ordered_effects or program.unordered_effects}")
    return program


def _calls(module: Any) -> list[str]:
    """The functions outside the program that it calls, by name, operations that nothing here knows among them."""
    found: list[str] = []
    waiting = [module.operation]
    while waiting:
        operation = waiting.pop()
        name = str(operation.name)
        if name.partition(".")[0] not in _DIALECTS or name in _OUTSIDE:
            found.append(name)
        elif name == "stablehlo.custom_call":
            found.append(str(operation.attributes["call_target_name"]).strip('"'))
        waiting += [inner.operation for region in operation.regions for block in region for inner in block]
    return list(dict.fromkeys(found))


def names_of(program: jax.export.Exported) -> tuple[list[str], list[str]]:
    """What a program calls its inputs and outputs: by their keys in dicts and fields, numbered where they have none."""
    given = jax.tree_util.tree_unflatten(program.in_tree, list(range(len(program.in_avals))))
    takes = [path[1:] for path, _ in jax.tree_util.tree_flatten_with_path(given)[0]]
    answered = jax.tree_util.tree_unflatten(program.out_tree, list(range(len(program.out_avals))))
    gives = [path for path, _ in jax.tree_util.tree_flatten_with_path(answered)[0]]
    return names_at(takes, "input"), names_at(gives, "output")


def names_at(paths: Sequence[Any], word: str) -> list[str]:
    """Names for the leaves at these places; `word` for those without any."""
    return [_name(path, at, len(paths), word) for at, path in enumerate(paths)]


def _name(path: Sequence[Any], at: int, count: int, word: str) -> str:
    keys = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    said = "_".join(key for key in keys if key and not key.isdigit())
    if said and all(keys):
        return said
    return word if count == 1 else f"{said or word}_{at}"


def _in_order(named: list[str], own: list[str]) -> list[int]:
    """For each of the program's tensors its place in the signature: by name where the program knows the names, else as they stand."""
    return [named.index(name) for name in own] if sorted(named) == sorted(own) else list(range(len(named)))


class JaxSession:
    """Answers with a judged program, whose tensors are the signature's by name; where the program has no such names, in the order in which it takes them."""

    concurrent = True
    isolated = False

    def __init__(self, program: jax.export.Exported, signature: Signature) -> None:
        if len(program.in_avals) != len(signature.inputs) or len(program.out_avals) != len(signature.outputs):
            raise InvalidFile("the program takes or gives another number of tensors than its signature says", hint="pack it again")
        self._call: Callable[..., Any] = jax.jit(program.call)
        self._tree = program.in_tree
        takes, gives = names_of(program)
        inputs = _in_order([spec.name for spec in signature.inputs], takes)
        self._inputs = [(signature.inputs[at].name, aval.dtype) for at, aval in zip(inputs, program.in_avals, strict=True)]
        order = _in_order([spec.name for spec in signature.outputs], gives)
        self._outputs = [(order.index(at), spec.datatype) for at, spec in enumerate(signature.outputs)]

    def run(self, inputs: Tensors) -> list[Tensor]:
        arguments, named = jax.tree_util.tree_unflatten(self._tree, [jnp.asarray(inputs[name], dtype) for name, dtype in self._inputs])
        try:
            found = jax.tree_util.tree_leaves(self._call(*arguments, **named))
        except (ValueError, TypeError, RuntimeError) as error:  # RuntimeError: of XLA
            raise InvalidInput(f"the model refused these inputs: {str(error).strip().partition(chr(10))[0][:300]}") from error
        return [as_tensor(found[at], datatype) for at, datatype in self._outputs]

    def close(self) -> None:
        """The program goes with the session."""


def as_tensor(array: Any, datatype: Datatype) -> Tensor:
    """An answer as numpy has it; bfloat16, which numpy has not, as float32."""
    return np.ascontiguousarray(np.asarray(array).astype(datatype.dtype, copy=False)).reshape(np.shape(array))

"""TensorFlow as a runtime: one signature of a SavedModel. Its operations are judged before anything of it is loaded.

Options of a variant: `signature` (default "serving_default"), and `trusted_operations` (separated by spaces), which a person trusted when packing.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Final

import tensorflow as tf

from aweigh.core.errors import InternalError, InvalidFile, InvalidInput
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes.savedmodel_graph import GRAPH, judge_savedmodel, refused
from aweigh.runtimes.tensorflow_tensors import as_tensorflow, from_tensorflow

DEFAULT: Final = "serving_default"
_SAID: Final = 300


class TensorflowRuntime:
    """Loads the folder whose `saved_model.pb` is `variant.files[0]`."""

    name = "tensorflow"

    def __init__(self, *, session_threads: int = 1) -> None:
        self._threads = session_threads

    def load(self, variant: Variant, signature: Signature, path: Callable[[str], Path]) -> Session:
        """Judge, load, and hold against the signature. Raises InvalidFile, NotTrusted, FileMissing."""
        if not variant.files or PurePosixPath(variant.files[0]).name != GRAPH:
            raise InvalidFile(f"variant '{variant.name}' lists no {GRAPH} to load")
        _limit_threads(self._threads)
        root = PurePosixPath(variant.files[0]).parent
        with tempfile.TemporaryDirectory(prefix="aweigh-savedmodel-") as folder:
            for file in variant.files:
                place = Path(folder) / PurePosixPath(file).relative_to(root)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(path(file).absolute())
            strange = judge_savedmodel(Path(folder) / GRAPH, allowed=str(variant.options.get("trusted_operations", "")).split())
            if strange:
                raise refused(f"variant '{variant.name}'", strange)
            function = signature_of(load_folder(Path(folder)), str(variant.options.get("signature", DEFAULT)))
        return _TensorflowSession(function, signature)


def load_folder(folder: Path) -> Any:
    """A judged SavedModel, whose operations run one by one as they are written. Raises InvalidFile.

    Fused ones, which TensorFlow makes on processors with AVX-512, answer numbers where a Relu gets a NaN: a package would answer otherwise from one machine to the next.
    """
    tf.config.optimizer.set_experimental_options({"remapping": False})
    try:
        return tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow raises anything on a damaged folder
        raise InvalidFile(
            f"the SavedModel cannot be loaded: {type(error).__name__}: {str(error)[:_SAID]}",
            hint="export the model again, and copy the whole folder",
        ) from error


def signature_of(loaded: Any, name: str) -> Any:
    """One signature of a loaded SavedModel, which keeps alive what it needs. Raises InvalidFile that names those there are."""
    if name not in loaded.signatures:
        raise InvalidFile(f"the SavedModel has no signature '{name}'", hint=f"it has {', '.join(sorted(loaded.signatures)) or 'none'}")
    function = loaded.signatures[name]
    function.kept = loaded  # variables go with the object that holds them
    return function


def _limit_threads(count: int) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return  # TensorFlow runs already: its threads are what they are


def ask_signature(function: Any, signature: Signature, inputs: Tensors) -> list[Tensor]:
    """What one signature answers. Raises InvalidInput for what TensorFlow says is wrong with the inputs."""
    given = {spec.name: as_tensorflow(inputs[spec.name], spec) for spec in signature.inputs}
    try:
        answers = function(**given)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        said = str(getattr(error, "message", error)).strip().partition("\n")[0]
        raise InvalidInput(f"the model refused these inputs: {said[:_SAID]}") from error
    missing = [spec.name for spec in signature.outputs if spec.name not in answers]
    if missing:
        raise InternalError(f"the model gave no output '{missing[0]}'; it gave {', '.join(answers)}")
    return [from_tensorflow(answers[spec.name]) for spec in signature.outputs]


class _TensorflowSession:
    concurrent = True
    isolated = False

    def __init__(self, function: Any, signature: Signature) -> None:
        self._function = function
        self._signature = signature

    def run(self, inputs: Tensors) -> list[Tensor]:
        function = self._function
        if function is None:
            raise InternalError("the session is closed")
        return ask_signature(function, self._signature, inputs)

    def close(self) -> None:
        self._function = None

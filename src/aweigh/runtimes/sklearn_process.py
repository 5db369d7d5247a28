"""The child's side of the scikit-learn session: loads the estimator and answers. Runs only inside an isolated process, never in the server."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import joblib
import msgspec

from aweigh.core.errors import FileMissing, InvalidFile, InvalidInput, MissingLibrary
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes.sklearn_estimator import answer

Handler = Callable[[dict[str, Any], Tensors], tuple[dict[str, Any], dict[str, Tensor]]]
_MAX_TEXT: Final = 500


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What the child needs: the file, the signature and the variant's options."""

    file: str
    signature: Signature
    options: dict[str, str | int | float | bool]


def open_session(opening: Opening) -> Handler:
    """Load the estimator and return its handler. Raises InvalidFile, MissingLibrary, FileMissing."""
    return handler(load_estimator(Path(opening.file)), opening)


def handler(estimator: Any, opening: Opening) -> Handler:
    """Answers requests with a loaded estimator."""
    warnings.simplefilter("ignore")  # nobody reads a child's warnings; what matters is compared with the golden set
    names = [spec.name for spec in opening.signature.outputs]

    def handle(header: dict[str, Any], tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            outputs = answer(estimator, opening.signature, tensors, opening.options)
        except (ValueError, TypeError, KeyError) as error:
            text = str(error)[:_MAX_TEXT]
            raise InvalidInput(f"the model refused these inputs: {type(error).__name__}: {text}") from error
        return header, dict(zip(names, outputs, strict=True))

    return handle


def load_estimator(file: Path) -> Any:
    """Read a joblib or pickle file, which runs code from it: whoever calls has judged it."""
    if not file.is_file():
        raise FileMissing(f"{file} does not exist")
    try:
        return joblib.load(file)
    except ModuleNotFoundError as error:
        raise MissingLibrary(
            f"{file.name} needs the Python module '{error.name}', which is not installed here",
            hint=f"install the package that provides '{error.name}'",
            libraries=error.name,
        ) from error
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, AttributeError, ImportError, IndexError, TypeError, OSError) as error:
        text = f"{type(error).__name__}: {str(error)[:_MAX_TEXT]}"
        raise InvalidFile(
            f"{file.name} cannot be loaded: {text}", hint="it is damaged, or was written by other versions of its libraries"
        ) from error

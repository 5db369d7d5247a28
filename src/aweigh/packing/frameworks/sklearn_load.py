"""Judges and loads scikit-learn files: pickles only when trusted, skops files by its own and our constant list. Called by `frameworks/sklearn.py`.

Runs inside an isolated child for a file. Nothing of the file is executed before the verdict.
"""

import importlib.metadata
import pickle
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import skops.io
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from aweigh.core.errors import AweighError, InvalidFile, InvalidInput, MissingLibrary, NotTrusted, Unsupported
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.packing.recognise import Recognised
from aweigh.packing.trust import check_trust
from aweigh.runtimes.sklearn_estimator import as_tensor, method_for
from aweigh.runtimes.sklearn_process import load_estimator

TRUSTED_TYPES: Final[tuple[str, ...]] = ()
"""Types trusted in a skops file beyond those of numpy, scipy and scikit-learn that skops itself trusts. Constant: no file adds to it."""
MIN_SKOPS: Final = (0, 14)
_MAX_SKOPS_BYTES: Final = 4 * 1024**3
_MAX_RATIO: Final = 200
_SHOWN: Final = 8


def load(path: Path, recognised: Recognised, *, trust: bool) -> Any:
    """The estimator in the file. Raises NotTrusted, InvalidFile, MissingLibrary, Unsupported."""
    model = _load_skops(path, trust=trust) if recognised.format == "skops" else _load_pickle(path, recognised, trust=trust)
    if not (hasattr(model, "predict") or hasattr(model, "transform")):
        raise Unsupported(
            f"{path.name} holds a {type(model).__module__}.{type(model).__qualname__}, which is no estimator",
            hint="save the fitted estimator or Pipeline itself",
        )
    return model


def _load_pickle(path: Path, recognised: Recognised, *, trust: bool) -> Any:
    check_trust(path, recognised, trust=trust)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # version notes: the golden set decides whether the model still answers
        try:
            return load_estimator(path)
        except AweighError:
            raise
        except (pickle.PickleError, MemoryError, RecursionError) as error:
            raise InvalidFile(f"{path.name}: {error}", hint="the file is damaged: save it again") from error


def _load_skops(path: Path, *, trust: bool) -> Any:
    version = tuple(int(part) for part in importlib.metadata.version("skops").split(".")[:2])
    if version < MIN_SKOPS:
        raise MissingLibrary("skops is older than 0.14, whose list of trusted types had holes", hint="pip install -U 'aweigh[sklearn]'")
    _check_archive(path)
    types = untrusted_types(path)
    if types and not trust:
        shown = ", ".join(types[:_SHOWN]) + (f" and {len(types) - _SHOWN} more" if len(types) > _SHOWN else "")
        raise NotTrusted(
            f"{path.name} is a skops file with types that nobody vouched for: {shown}",
            hint="pass --trust if you made this file yourself, or export the model to ONNX",
            types=", ".join(types),
        )
    try:
        return skops.io.load(path, trusted=[*TRUSTED_TYPES, *types])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidFile(f"{path.name}: not a loadable skops file: {str(error)[:300]}", hint="save it again with skops") from error


def untrusted_types(path: Path) -> list[str]:
    """Types in a skops file that neither skops nor our list trusts."""
    try:
        found = skops.io.get_untrusted_types(file=path)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ImportError,
        IndexError,
        RecursionError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InvalidFile(f"{path.name}: not a readable skops file: {str(error)[:300]}", hint="save it again with skops") from error
    return sorted(str(name) for name in found if name not in TRUSTED_TYPES)


def _check_archive(path: Path) -> None:
    """Names, sizes and ratios of the members before any is unpacked; a pickle inside is a pickle, whatever the archive is called."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        total = sum(info.file_size for info in infos)
        packed = max(1, sum(info.compress_size for info in infos))
        if total > _MAX_SKOPS_BYTES or total / packed > _MAX_RATIO:
            raise InvalidFile(f"{path.name}: unpacks to {total} bytes from {packed}", hint="no skops file is packed that tightly")
        for info in infos:
            suffix = info.filename.rsplit(".", 1)[-1]
            if info.flag_bits & 1 or info.filename.count("/") or suffix not in {"json", "npy", "npz", "bin"}:
                _refuse_member(path, info.filename)


def _refuse_member(path: Path, member: str) -> None:
    raise InvalidFile(
        f"{path.name}: member {member[:100]!r} does not belong in a skops file", hint="save the model again with skops.io.dump"
    )


def check_fitted(estimator: Any) -> None:
    """Raise InvalidInput for an estimator that was never fitted."""
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise InvalidInput(f"the {type(estimator).__name__} is not fitted", hint="call fit() before packing it") from error
    except TypeError:
        return  # not an estimator by scikit-learn's reading: asking it will tell


def direct_answers(estimator: Any, signature: Signature, rows: Any) -> list[Tensor]:
    """The estimator's answers to rows in the person's own form, as tensors of the signature."""
    asked: dict[str, Any] = {}
    for spec in signature.outputs:
        method = method_for(estimator, spec)
        if method not in asked:
            asked[method] = getattr(estimator, method)(rows)
    return [as_tensor(asked[method_for(estimator, spec)], spec) for spec in signature.outputs]

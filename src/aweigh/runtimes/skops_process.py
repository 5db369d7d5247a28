"""The child's side of the scikit-learn session for a skops file, which holds no pickle. Apart, because skops costs a second to import."""

import zipfile
import zlib
from pathlib import Path
from typing import Final

import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from aweigh.core.errors import FileMissing, InvalidFile, NotTrusted
from aweigh.runtimes.sklearn_process import Handler, Opening, handler

_MAX_TEXT: Final = 500


def open_session(opening: Opening) -> Handler:
    """Load the estimator and return its handler. Raises InvalidFile, NotTrusted for types that packing did not accept, FileMissing."""
    file = Path(opening.file)
    if not file.is_file():
        raise FileMissing(f"{file} does not exist")
    try:
        estimator = skops.io.load(file, trusted=str(opening.options.get("trusted_types", "")).split())
    except UntrustedTypesFoundException as error:
        raise NotTrusted(
            f"{file.name}: {str(error)[:_MAX_TEXT]}", hint="pack it again with --trust if you trust where it comes from"
        ) from error
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, AttributeError, EOFError, OSError) as error:
        text = f"{type(error).__name__}: {str(error)[:_MAX_TEXT]}"
        raise InvalidFile(
            f"{file.name} cannot be loaded: {text}", hint="it is damaged, or was written by other versions of its libraries"
        ) from error
    return handler(estimator, opening)

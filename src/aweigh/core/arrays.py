"""Arrays that people give, as objects or as .npy and .npz files. For the client, `app` and `packing`.

Must never change a value on the way: what the model's dtype cannot hold is refused, and what is no file of arrays is refused by its name.
"""

import lzma
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.tensors import Tensor

UNNAMED: Final = ""
"""The name of an array that is the only one and goes to whatever takes it."""
_UNREADABLE: Final = (
    OSError, ValueError, EOFError, LookupError, TypeError, AttributeError, RuntimeError, SyntaxError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError,
)  # fmt: skip
"""What numpy and zipfile raise for archives that are cut off or encrypted, and for headers that are none."""
_SHOWN: Final = 80


def array_of(value: object) -> Tensor:
    """The array that a value is or stands for. Texts and bytes are kept as objects: numpy's own arrays of them drop the NULs at their end,
    and make texts of numbers beside them. Raises ValueError where lists are of unequal length."""
    if isinstance(value, np.ndarray):
        return value
    try:
        array: Tensor = np.asarray(value)
    except UnicodeDecodeError:  # bytes beside texts
        return np.asarray(value, dtype=object)
    return np.asarray(value, dtype=object) if array.dtype.kind in "SU" else array


def read_arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of a file by name, or one without a name: the file's own name does not tell which. Raises InvalidFile."""
    try:
        with path.open("rb") as file:  # numpy leaves a file of its own open where the archive is damaged
            found: Any = np.load(file, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                return {UNNAMED: found}
            with found:
                arrays: dict[str, Any] = {name: found[name] for name in found.files}
    except _UNREADABLE as error:
        raise InvalidFile(
            f"{path}: not a readable {path.suffix} file: {error}",
            hint="save it again with numpy.save or numpy.savez, without objects in it; a table of mixed columns as .csv or .parquet",
        ) from error
    if not arrays:
        raise InvalidFile(f"{path}: there is no array in it", hint="save it again with numpy.savez")
    other = next((name for name, array in arrays.items() if not isinstance(array, np.ndarray)), None)
    if other is not None:
        raise InvalidFile(f"{path}: '{other[:_SHOWN]}' in it is no array", hint="save it again with numpy.savez")
    return arrays


def cast_exactly(array: Tensor, dtype: np.dtype[Any], name: str) -> Tensor:
    """The array as a model takes it: whole numbers and truth values are the same, other numbers are rounded to what the dtype can tell.
    Raises InvalidInput, naming the array and the place, for a number that it cannot hold, and for text where numbers are taken."""
    if array.dtype == dtype:
        return np.ascontiguousarray(array)
    if dtype.kind == "O" and array.dtype.kind in "UST":
        return array.astype(object)
    if array.dtype.kind not in "biuf" or dtype.kind not in "biuf":
        raise InvalidInput(f"{_named(name)} is of {array.dtype} where the model takes {dtype}", hint="check what it holds")
    unheld = np.argwhere(~_holds(array, dtype))
    if len(unheld):
        at = tuple(int(axis) for axis in unheld[0])
        raise InvalidInput(
            f"{_named(name)} holds {array[at]} at {list(at)}, which {dtype} cannot hold", hint="check that it is what the model takes"
        )
    return np.ascontiguousarray(array, dtype=dtype)


def _holds(array: Any, dtype: np.dtype[Any]) -> Any:
    """Where the dtype can hold the number: exactly, or as a float that is finite where the number is."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return ~np.isfinite(array) | np.isfinite(array.astype(dtype))
    if dtype.kind == "b" or array.dtype.kind == "b":
        return (array == 0) | (array == 1)
    bounds = np.iinfo(dtype)
    if array.dtype.kind != "f":
        return (array >= bounds.min) & (array <= bounds.max)
    wide = array.astype(np.float64) if array.dtype.itemsize < np.dtype(np.float64).itemsize else array
    return (wide == np.trunc(wide)) & (wide >= float(bounds.min)) & (wide < float(bounds.max + 1))


def _named(name: str) -> str:
    return f"the array '{name[:_SHOWN]}'" if name else "the array"

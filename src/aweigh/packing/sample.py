"""Reads the sample and the labels that a person gives: files (parquet, csv, npy, npz, jsonl) or objects (frame, array, list). Called by `pack`.

The outcome is a `Sample`: a frame, a matrix, texts or named tensors. Never unpickles: `.npy` and `.npz` with objects inside are refused.
"""

import dataclasses
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import pandas as pd

from aweigh.core.arrays import UNNAMED, array_of, read_arrays
from aweigh.core.errors import AweighError, FileMissing, InvalidFile, InvalidInput, MissingLibrary, TooLarge
from aweigh.core.frames import twice
from aweigh.core.nearest import meant_column, separator
from aweigh.core.tensorfile import read_tensors, write_tensors
from aweigh.core.tensors import Datatype, Tensor, datatype_of

MAX_SAMPLE_BYTES: Final = 2 * 1024**3
MAX_ROWS: Final = 200_000
"""Rows beyond this are not needed for a proof; the first ones are kept."""
_SPARSE_ROWS: Final = 2000
"""Rows of a sparse matrix that are kept: dense, each may be of a hundred thousand numbers."""
_GIVEN_ROWS: Final = "given/rows"
_SUFFIXES: Final = ".parquet, .csv, .npy, .npz or .jsonl"
_SIGNS: Final = r"[;\t]"
_UNREADABLE: Final = (
    OSError, ValueError, EOFError, LookupError, StopIteration, msgspec.DecodeError, pd.errors.ParserError, TypeError, RuntimeError,
)  # fmt: skip
"""What readers raise."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows of data. `data` is a DataFrame for "frame", an array for "matrix", an object array of text for "text", a dict for "tensors"."""

    form: Literal["frame", "matrix", "text", "tensors"]
    data: Any
    source: str = "given"
    given_rows: int = 0
    """How many rows there were, of which `data` holds the first; 0 where that is all of them."""

    @property
    def rows(self) -> int:
        first = next(iter(self.data.values())) if self.form == "tensors" else self.data
        return int(first.shape[0]) if first.ndim else 1


def read_sample(source: object, *, what: str = "sample") -> Sample:
    """A sample from a path or an object. Raises FileMissing, InvalidFile or InvalidInput that name the column or row."""
    sample = _from_file(source, what) if isinstance(source, str | Path) else _from_object(source, what)
    if sample.rows == 0:
        raise InvalidInput(f"the {what} has no rows", hint="give at least one row")
    return sample


def labels_apart(sample: object, labels: str) -> tuple[Sample, object]:
    """The sample without one of its columns, and that column. Raises InvalidInput with the nearest name."""
    read = read_sample(sample)
    if read.form != "frame":
        raise InvalidInput(
            f"--labels {labels!r}: there is no such file, and {read.source} has no columns with names", hint="check the path"
        )
    names = list(read.data.columns)
    if labels not in names:
        raise InvalidInput(f"--labels {labels!r} is neither a file nor a column of {read.source}", hint=meant_column(labels, names))
    if len(names) == 1:
        raise InvalidInput(f"{read.source} has no column but {labels!r}", hint="give the columns that the model takes too")
    return dataclasses.replace(read, data=read.data.drop(columns=labels)), read.data[[labels]]


def read_labels(source: object, *, rows: int, given_rows: int = 0) -> Tensor:
    """One label per row of a sample of `rows` that were the first of `given_rows`, or all. Raises InvalidInput for more than one column, another number of rows,
    a row without a label."""
    sample = read_sample(source, what="labels")
    if sample.form == "tensors":
        raise InvalidInput("the labels hold several arrays", hint="give one column")
    labels = np.asarray(sample.data)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InvalidInput(f"the labels have {labels.shape[-1]} columns", hint="give one column, one label per row")
    whole = min(given_rows, MAX_ROWS) or rows
    count = sample.given_rows or len(labels)
    if count != whole:
        raise InvalidInput(f"the labels have {count} rows, the sample has {whole}", hint="give one label per sample row, in its order")
    absent = np.flatnonzero(pd.isna(labels[:rows]))
    if absent.size:
        raise InvalidInput(
            f"row {absent[0]} of the labels has none",
            hint="leave the row out of sample and labels; a label called 'NA' or 'None' goes into .parquet or .jsonl, as CSV has no other word for none",
        )
    return labels[:rows]


def _from_file(source: str | Path, what: str) -> Sample:
    path = Path(source)
    if not path.is_file():
        raise FileMissing(f"{path}: there is no such {what} file", hint="check the path")
    size = path.stat().st_size
    if size > MAX_SAMPLE_BYTES:
        raise TooLarge(f"{path}: the {what} is {size} bytes, {MAX_SAMPLE_BYTES} are read at most", hint="give some thousands of rows")
    if size == 0:
        raise InvalidFile(f"{path}: the {what} file is empty", hint="save it again")
    readers = {".parquet": _parquet, ".csv": _csv, ".npy": _numpy, ".npz": _numpy, ".jsonl": _jsonl, ".ndjson": _jsonl, ".tensors": _own}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidFile(f"{path}: '{path.suffix}' is no {what} format", hint=f"give {_SUFFIXES}")
    try:
        found = reader(path)
    except AweighError:
        raise
    except _UNREADABLE as error:
        raise InvalidFile(f"{path}: not a readable {path.suffix} {what}: {error}", hint=f"give a valid {_SUFFIXES} file") from error
    return dataclasses.replace(_from_object(found, what), source=path.name) if not isinstance(found, Sample) else found


def _parquet(path: Path) -> object:
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise MissingLibrary("reading Parquet needs pyarrow, which is not installed", hint="pip install 'aweigh[parquet]'") from error


def _csv(path: Path) -> object:
    read = pd.read_csv(path, nrows=MAX_ROWS)
    names = [str(name) for name in read.columns]
    if (sign := separator(names)) and read.iloc[:, 0].map(str).str.count(_SIGNS).gt(0).all():
        raise InvalidFile(f"{path}: the columns are separated by {sign}", hint="save the file with commas")
    return read


def _numpy(path: Path) -> object:
    arrays = read_arrays(path)
    return arrays if len(arrays) != 1 else next(iter(arrays.values()))


def _jsonl(path: Path) -> object:
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    rows.append(msgspec.json.decode(line))
                except msgspec.DecodeError as error:
                    raise InvalidFile(f"{path}: line {number} is not JSON: {error}", hint="one JSON value per line") from error
            if len(rows) >= MAX_ROWS:
                break
    return rows


def _own(path: Path) -> Sample:
    named = {name: tensor for name, (_datatype, tensor) in read_tensors(path.read_bytes(), place=path.name).items()}
    given_rows = int(named.pop(_GIVEN_ROWS, np.zeros(1))[0])
    form = next(iter(named)).split("/", 1)[0]
    columns = {name.split("/", 1)[1]: tensor for name, tensor in named.items()}
    if form == "frame":
        return Sample(form="frame", data=pd.DataFrame(columns))
    if form == "tensors":
        return Sample(form="tensors", data=columns)
    return Sample(form="matrix" if form == "matrix" else "text", data=columns["data"], given_rows=given_rows)


def write_sample(sample: Sample) -> bytes:
    """The sample as a tensor file (`.tensors`), for a child to read."""
    if sample.form == "frame":
        named = {name: column_tensor(sample.data[name], str(name)) for name in sample.data.columns}
    else:
        named = sample.data if sample.form == "tensors" else {"data": sample.data}
    tensors = {f"{sample.form}/{name}": tensor for name, tensor in named.items()}
    if sample.given_rows:
        tensors[_GIVEN_ROWS] = np.array([sample.given_rows])
    return write_tensors({name: (datatype_of(tensor), tensor) for name, tensor in tensors.items()})


def column_tensor(series: Any, name: str) -> Tensor:
    """One column as a tensor [rows]: numbers and booleans as they are, everything else as text with None where missing."""
    if isinstance(series.dtype, pd.CategoricalDtype) and series.cat.categories.dtype.kind in "biuf":
        series = series.astype(np.float64 if series.isna().any() else series.cat.categories.dtype)
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        array: Tensor = series.to_numpy()
        return array.astype(np.float64) if datatype_of_or_none(array) is None else array
    if pd.api.types.is_bool_dtype(dtype) and not series.isna().any():
        return np.asarray(series.to_numpy(dtype=np.bool_))
    if pd.api.types.is_numeric_dtype(dtype) and not isinstance(dtype, pd.CategoricalDtype):
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    items = [None if missing else item for item, missing in zip(series.tolist(), series.isna().tolist(), strict=True)]
    for row, item in enumerate(items):
        if not isinstance(item, str | bytes | bool | int | float | np.generic | None):
            raise InvalidInput(
                f"column '{name}', row {row}: a {type(item).__name__} is neither a number nor a text",
                hint="give numbers, booleans and texts; dates as text or as numbers",
            )
    filled = np.empty(len(items), dtype=object)
    filled[:] = [item if item is None or isinstance(item, str | bytes) else str(item) for item in items]
    return filled


def datatype_of_or_none(array: Tensor) -> Datatype | None:
    """As `datatype_of`, None where there is none (float128, complex)."""
    try:
        return datatype_of(array)
    except InvalidInput:
        return None


def _from_object(data: Any, what: str) -> Sample:
    if isinstance(data, Sample):
        return data
    if type(data).__module__.startswith("scipy.sparse") and hasattr(data, "tocsr"):
        kept = _from_array(data.tocsr()[:_SPARSE_ROWS].toarray(), what)  # not every sparse form can be sliced; one is a dict besides
        return dataclasses.replace(kept, given_rows=int(data.shape[0])) if data.shape[0] > _SPARSE_ROWS else kept
    if isinstance(data, pd.Series):
        data = data.to_frame() if data.dtype.kind in "biuf" else data.tolist()
    if isinstance(data, pd.DataFrame):
        return Sample(form="frame", data=_checked_frame(data.iloc[:MAX_ROWS], what))
    if isinstance(data, dict):
        return _from_dict(data, what)
    if isinstance(data, list | tuple):
        return _from_rows(list(data[:MAX_ROWS]), what)
    array = _array(data)
    return _from_array(array[:MAX_ROWS] if array.ndim else array, what)


def _from_dict(data: dict[str, Any], what: str) -> Sample:
    arrays = {}
    for name, value in data.items():
        try:
            arrays[str(name)] = _array(value)
        except ValueError as error:
            raise InvalidInput(
                f"the {what}'s '{name}' has rows that differ in length: {error}", hint="give rows of equal length"
            ) from error
    if list(arrays) == [UNNAMED]:
        return _from_array(arrays[UNNAMED], what)
    if arrays and all(array.ndim == 1 for array in arrays.values()):
        try:
            return Sample(form="frame", data=_checked_frame(pd.DataFrame(data).iloc[:MAX_ROWS], what))
        except ValueError as error:
            raise InvalidInput(f"the {what}'s columns differ in length: {error}", hint="give columns of equal length") from error
    return Sample(form="tensors", data={name: _from_array(array, f"{what} '{name}'").data for name, array in arrays.items()})


def _from_rows(rows: list[Any], what: str) -> Sample:
    if rows and all(isinstance(row, dict) for row in rows):
        return Sample(form="frame", data=_checked_frame(pd.DataFrame.from_records(rows), what))
    if rows and all(isinstance(row, str) for row in rows):
        return _from_array(np.array(rows, dtype=object), what)
    try:
        return _from_array(_array(rows), what)
    except ValueError as error:
        raise InvalidInput(f"the {what}'s rows differ in length: {error}", hint="give rows of equal length, or records") from error


def _array(value: object) -> Tensor:
    """As `array_of` where all are texts or bytes; numbers beside texts become texts, as the frameworks make them."""
    found = array_of(value)
    kept = found.dtype == object and all(isinstance(item, str | bytes) for item in found.ravel().tolist())
    return found if kept else np.asarray(value)


def _from_array(array: Any, what: str) -> Sample:
    if array.dtype.kind in "US":
        array = array.astype(object)
    if datatype_of_or_none(array) is None:
        raise InvalidInput(f"the {what} has dtype {array.dtype}, which has no tensor form", hint="give numbers, booleans or texts")
    texts = array.dtype == object and (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1))
    if texts and all(isinstance(item, str) or item is None for item in array.ravel().tolist()):
        return Sample(form="text", data=array.reshape(-1))
    if array.ndim == 1:
        array = array.reshape(-1, 1) if what == "labels" else array
    return Sample(form="matrix", data=array)


def _checked_frame(frame: Any, what: str) -> Any:
    names = [str(name) for name in frame.columns]
    double = twice(names)
    if double is not None:
        raise InvalidInput(f"the {what} has two columns named '{double}'", hint="give each column its own name")
    if not names:
        raise InvalidInput(f"the {what} has no columns", hint="give at least one column")
    checked = frame.reset_index(drop=True)
    checked.columns = names
    return checked

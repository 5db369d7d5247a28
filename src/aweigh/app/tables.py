"""Small tables: files in, columns out, and answers back to files. For `aweigh predict`; whole files in memory, written atomically.

A CSV holds only text, so the signature says what each column is; an empty field is a missing value.
"""

import csv
import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from aweigh.core.arrays import read_arrays
from aweigh.core.errors import FileMissing, InvalidFile, InvalidInput, MissingLibrary, StoreUnavailable, Unsupported
from aweigh.core.frames import frame_columns, twice
from aweigh.core.signature import Column, ColumnKind, Signature
from aweigh.core.whole import whole

Columns = dict[str, Sequence[Any]]
_FILES: Final = {ColumnKind.IMAGE: (".png", ".jpg", ".jpeg"), ColumnKind.SOUND: (".wav",)}
_TRUE: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def read_columns(path: Path, signature: Signature) -> Columns:
    """The columns of a csv, jsonl, parquet, npy or npz file that the model takes. Raises FileMissing, InvalidFile, InvalidInput with column and row."""
    columns = read_table(path, signature)
    wanted = {column.name for column in frame_columns(signature)}
    return {name: values for name, values in columns.items() if name in wanted} if wanted <= set(columns) else columns


def read_table(path: Path, signature: Signature) -> Columns:
    """Every column of such a file, also those that the model does not take; of a CSV these are texts. Raises as `read_columns`."""
    files = _files_of(path, signature)
    if files is not None:
        return files
    readers: dict[str, Callable[[Path, Signature], Columns]] = {
        ".csv": _read_csv,
        ".jsonl": _read_jsonl,
        ".parquet": _read_parquet,
        ".npy": _read_numpy,
        ".npz": _read_numpy,
    }
    reader = readers.get(path.suffix.lower())
    if not path.is_file():
        raise FileMissing(f"there is no file {path}", hint="check the path")
    if reader is None:
        raise Unsupported(f"{path}: '{path.suffix}' is not a table format", hint=f"use one of {', '.join(readers)}")
    try:
        return reader(path, signature)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, EOFError, msgspec.DecodeError) as error:
        raise InvalidFile(f"{path} cannot be read as {path.suffix[1:]}: {error}", hint="is it what its name says?") from error


def columns_of_frame(frame: Any) -> Columns:
    """The columns of a DataFrame. Raises InvalidInput for two of one name."""
    names = [str(name) for name in frame.columns]
    double = twice(names)
    if double is not None:
        raise InvalidInput(f"the frame has two columns named {double[:80]!r}", hint="rename one of them")
    return {str(name): frame[name].tolist() for name in frame.columns}


def _files_of(path: Path, signature: Signature) -> Columns | None:
    """The column of a model that is asked with images or sounds, from one such file or from all of a folder in the order of their names; None for anything else."""
    columns = signature.columns
    suffixes = _FILES.get(columns[0].kind, ()) if len(columns) == 1 else ()
    found = [path] if path.suffix.lower() in suffixes else []
    if suffixes and path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes)
        if not found:
            raise InvalidInput(f"{path}: there is no file of {', '.join(suffixes)} in it", hint="give a folder that has some")
    if not found:
        return None
    missing = next((file for file in found if not file.is_file()), None)
    if missing is not None:
        raise FileMissing(f"there is no file {missing}", hint="check the path")
    return {columns[0].name: [file.read_bytes() for file in found]}


def _read_csv(path: Path, signature: Signature) -> Columns:
    kinds = {column.name: column for column in frame_columns(signature)}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        names = next(reader, None)
        if not names:
            raise InvalidFile(f"{path} is empty", hint="the first line names the columns")
        _check_names(names, path)
        rows = [row for row in reader if row]
    for at, row in enumerate(rows):
        if len(row) != len(names):
            raise InvalidFile(f"{path}:{at + 2}: {len(row)} fields, the first line names {len(names)} columns")
    return {name: [_field(row[at], kinds.get(name), number, path) for number, row in enumerate(rows)] for at, name in enumerate(names)}


def _check_names(names: Sequence[str], path: Path) -> None:
    double = twice(names)
    if double is not None:
        raise InvalidFile(f"{path} has two columns named {double[:80]!r}", hint="rename one of them")


def _field(text: str, column: Column | None, row: int, path: Path) -> object:
    if column is None or column.kind in {ColumnKind.CATEGORY, ColumnKind.TEXT, *_FILES}:
        return None if not text and column is not None and column.nullable else text
    if not text:
        return None
    try:
        if "_" in text:  # Python's own way to write numbers
            raise ValueError
        if column.kind is ColumnKind.BOOLEAN:
            return _TRUE[text.strip().lower()]
        return float(text) if column.kind is ColumnKind.NUMBER else _whole(text)
    except (ValueError, KeyError):
        raise InvalidInput(
            f"{path}, row {row}: column '{column.name}' holds {text[:80]!r}, expected a {column.kind.value}", column=column.name
        ) from None


def _whole(text: str) -> int | float:
    """An integer also where it was written as 3.0, as spreadsheets do."""
    return int(text) if text.strip().lstrip("+-").isdigit() else float(text)


def _read_jsonl(path: Path, _: Signature) -> Columns:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    rows = []
    for at, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                rows.append(decode(line))
            except msgspec.DecodeError as error:
                raise InvalidFile(f"{path}:{at}: {error}", hint="one JSON object per line") from None
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_parquet(path: Path, _: Signature) -> Columns:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingLibrary("reading parquet needs pyarrow, which is not installed", hint="pip install 'aweigh[parquet]'") from None
    table = parquet.read_table(path)
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _read_numpy(path: Path, signature: Signature) -> Columns:
    found = read_arrays(path)
    if len(found) == 1:
        return _matrix(next(iter(found.values())), signature, path)
    for name, array in found.items():
        if array.ndim == 0 or array.size != len(array):
            raise InvalidInput(f"{path}: array '{name}' of shape {list(array.shape)} is no column", hint="one value for each row")
    return {name: array.reshape(len(array)).tolist() for name, array in found.items()}


def _matrix(array: Any, signature: Signature, path: Path) -> Columns:
    columns = frame_columns(signature)
    if array.ndim == 1 and len(columns) == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2 or array.shape[1] != len(columns):
        raise InvalidInput(f"{path}: an array of shape {list(array.shape)} is not rows of {len(columns)} columns")
    return {column.name: array[:, at].tolist() for at, column in enumerate(columns)}


def write_columns(path: Path, columns: Mapping[str, list[Any]]) -> None:
    """Write answers as csv, jsonl or parquet, whole or not at all. Raises Unsupported, StoreUnavailable."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        data = csv_text(list(columns), zip(*columns.values(), strict=True)).encode()
    elif suffix == ".jsonl":
        names = list(columns)
        data = b"".join(msgspec.json.encode(dict(zip(names, row, strict=True))) + b"\n" for row in zip(*columns.values(), strict=True))
    elif suffix == ".parquet":
        data = _parquet_bytes(columns)
    else:
        raise Unsupported(f"{path}: '{path.suffix}' is not a format that answers are written in", hint="use .csv, .jsonl or .parquet")
    write_whole(path, data)


def csv_text(names: Sequence[str], rows: Any) -> str:
    """CSV with a header line; a missing value is an empty field."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return stream.getvalue()


def _parquet_bytes(columns: Mapping[str, list[Any]]) -> bytes:
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingLibrary("writing parquet needs pyarrow, which is not installed", hint="pip install 'aweigh[parquet]'") from None
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.table(dict(columns)), sink)
    return bytes(sink.getvalue())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises StoreUnavailable."""
    try:
        with whole(path, durable=True) as stream:
            stream.write(data)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be written: {error.strerror}", hint="check the folder and the space left") from error

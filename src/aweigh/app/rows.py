"""Data with more than a model takes: its inputs, right answers, and columns to slice by. For `evaluate` and `diff`; files or objects."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from aweigh.app.tables import columns_of_frame, read_table
from aweigh.core.arrays import UNNAMED, array_of, cast_exactly, read_arrays
from aweigh.core.errors import InvalidInput
from aweigh.core.frames import frame_columns, tensors_of_columns
from aweigh.core.nearest import meant_column
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor

_NOTHING = Signature(inputs=(), outputs=())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Columns by name, or whole arrays where the file holds the tensors that a model takes."""

    source: str
    columns: Mapping[str, Sequence[Any]]
    arrays: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, data: object, signature: Signature) -> Self:
        """From a path, a DataFrame, a mapping of columns or arrays, or a 2-d array. Raises FileMissing, InvalidFile, InvalidInput."""
        if isinstance(data, str | Path):
            return cls._of_file(Path(data), signature)
        if hasattr(data, "columns") and hasattr(data, "index"):
            frame: Any = data
            return cls(source=f"a frame of {len(frame)} rows", columns=columns_of_frame(frame))
        if isinstance(data, Mapping):
            return cls._of_arrays({str(name): array_of(values) for name, values in data.items()}, "the given columns")
        return cls._of_arrays({UNNAMED: array_of(data)}, "the given array")

    @classmethod
    def _of_file(cls, path: Path, signature: Signature) -> Self:
        if path.suffix.lower() in {".npy", ".npz"} and path.is_file():
            return cls._of_arrays(read_arrays(path), path.name)
        return cls(source=path.name, columns=read_table(path, signature))

    @classmethod
    def _of_arrays(cls, arrays: Mapping[str, Tensor], source: str) -> Self:
        columns = {name: array.tolist() for name, array in arrays.items() if array.ndim == 1}
        return cls(source=source, columns=columns, arrays=arrays)

    def tensors(self, signature: Signature) -> dict[str, Tensor]:
        """What a model takes of it. Raises InvalidInput naming what does not fit."""
        names = [spec.name for spec in signature.inputs]
        if self.arrays and set(names) <= set(self.arrays):
            return {spec.name: cast_exactly(self.arrays[spec.name], spec.datatype.dtype, spec.name) for spec in signature.inputs}
        alone = [array for array in self.arrays.values() if array.ndim > 1]
        if len(names) == 1 and len(alone) == 1 and not signature.columns:
            return {names[0]: cast_exactly(alone[0], signature.inputs[0].datatype.dtype, names[0])}
        wanted = [column.name for column in frame_columns(signature)]
        if len(alone) == 1 and alone[0].ndim == 2 and alone[0].shape[1] == len(wanted):
            return tensors_of_columns({name: alone[0][:, at].tolist() for at, name in enumerate(wanted)}, signature)
        if self.arrays and not set(wanted) & set(self.columns):
            held = ", ".join(f"'{name}' {list(array.shape)}" if name else str(list(array.shape)) for name, array in self.arrays.items())
            raise InvalidInput(
                f"{self.source} holds no column that the model takes, but arrays of: {held[:200]}", hint=f"it takes {wanted[:20]}"
            )
        return tensors_of_columns({name: self.columns[name] for name in wanted if name in self.columns}, signature)

    def column(self, name: str, *, option: str) -> Sequence[Any]:
        """One column. Raises InvalidInput with the nearest name."""
        if name not in self.columns:
            raise InvalidInput(f"{option} {name!r}: there is no such column in {self.source}", hint=meant_column(name, list(self.columns)))
        return self.columns[name]


def right_answers(labels: object, rows: Rows) -> Sequence[Any]:
    """The right answers: a column of the data by its name, a file of one column, or an object. Raises InvalidInput."""
    if isinstance(labels, str) and labels in rows.columns:
        return rows.columns[labels]
    if isinstance(labels, str | Path):
        path = Path(labels)
        if not path.is_file():
            raise InvalidInput(
                f"--labels {str(labels)!r} is neither a file nor a column of {rows.source}",
                hint=meant_column(str(labels), list(rows.columns)),
            )
        columns = Rows.read(path, _NOTHING).columns
        if len(columns) != 1:
            raise InvalidInput(f"{path} holds {len(columns)} columns", hint="labels are one column: one right answer for each row")
        return next(iter(columns.values()))
    return list(array_of(labels).ravel().tolist())

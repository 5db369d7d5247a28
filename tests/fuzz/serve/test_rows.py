"""CSV from anybody: rows, or an error of ours that says where; never another exception, and never a value that was not sent."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from aweigh.core.errors import AweighError
from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.serve.rows import columns_of_csv

KINDS = (ColumnKind.NUMBER, ColumnKind.INTEGER, ColumnKind.BOOLEAN, ColumnKind.TEXT)
SIGNATURE = Signature(
    inputs=tuple(TensorSpec(name=kind.value, datatype=Datatype.FP64, shape=(BATCH,)) for kind in KINDS),
    outputs=(TensorSpec(name="Y", datatype=Datatype.FP64, shape=(BATCH,)),),
    columns=tuple(Column(name=kind.value, kind=kind, input=kind.value, nullable=True) for kind in KINDS),
)


@given(st.one_of(st.binary(max_size=200), st.text(alphabet='01.,"\r\n\0e-+ truefals\ud7ff', max_size=200).map(str.encode)))
def test_any_bytes_are_rows_or_a_mistake(body: bytes) -> None:
    try:
        columns = columns_of_csv(body, SIGNATURE, 50)
    except AweighError:
        return
    assert len({len(values) for values in columns.values()}) == 1
    assert len(columns["text"]) <= 50


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.integers(-(2**53), 2**53), st.booleans(), st.text(min_size=1)), max_size=8))
def test_what_csv_writes_is_read_again(rows: list[tuple[float, int, bool, str]]) -> None:
    rows = [(*row[:3], row[3].replace("\r", "").replace("\n", "").replace("\0", "") or "a") for row in rows]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    columns = columns_of_csv(text.getvalue().encode("utf-8", "replace"), SIGNATURE, 50)
    assert list(zip(*columns.values(), strict=True)) == [(*row[:3], row[3].encode("utf-8", "replace").decode()) for row in rows]

from collections.abc import Mapping

import numpy as np
import pytest

from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.packing.edges import CASE_BYTES, GENERATED_ROWS, make_golden, make_static_golden, without_missing

X = TensorSpec(name="X", datatype=Datatype.FP64, shape=("batch", 3))
WORD = TensorSpec(name="word", datatype=Datatype.BYTES, shape=("batch", 1))
Y = TensorSpec(name="y", datatype=Datatype.FP64, shape=("batch",))
SIGNATURE = Signature(
    inputs=(X, WORD), outputs=(Y,), columns=(Column(name="word", kind=ColumnKind.CATEGORY, input="word", categories=("a", "b")),)
)
SAMPLE = {"X": np.arange(30.0).reshape(10, 3), "word": np.array([["a"], ["b"]] * 5, dtype=object)}


def lenient(rows: Mapping[str, Tensor]) -> list[Tensor]:
    return [np.nansum(rows["X"].astype(float), axis=1)]


def strict(rows: Mapping[str, Tensor]) -> list[Tensor]:
    if not np.isfinite(rows["X"].astype(float)).all():
        raise ValueError("Input X contains NaN")
    if any(item is None or "\x00" in str(item) for item in rows["word"].ravel().tolist()):
        raise TypeError("no such word")
    return [rows["X"].sum(axis=1)]


def test_a_lenient_source_is_asked_every_edge() -> None:
    golden = make_golden(SIGNATURE, SAMPLE, lenient)
    names = {case.name for case in golden.stored}
    assert {"sample", "extremes", "texts", "missing", "infinite", "single", "thirteen", "permuted"} <= names
    assert golden.refused == ()
    assert golden.signature.inputs == (X, WORD)
    assert golden.signature.columns[0].nullable
    texts = next(case for case in golden.stored if case.name == "texts").inputs["word"].ravel().tolist()
    assert {"", "İstanbul", "ılık IĞDIR", "unseen-category", "a\x00b", "nan", "None"} <= set(texts)
    assert max(map(len, texts)) == 10_000
    rows = {case.name: case.rows for case in golden.stored}
    assert (rows["single"], rows["thirteen"], rows["sample"]) == (1, 13, 10)


@pytest.mark.parametrize("datatype", [Datatype.FP32, Datatype.FP64])
def test_numbers_at_their_edges_are_asked_of_every_column(datatype: Datatype) -> None:
    signature = Signature(inputs=(TensorSpec(name="X", datatype=datatype, shape=("batch", 2)),), outputs=(Y,))
    sample = {"X": np.ones((8, 2), dtype=datatype.dtype)}
    golden = make_golden(signature, sample, lambda rows: [rows["X"].astype(np.float64).sum(axis=1)])
    limits = np.finfo(datatype.dtype)
    for column in range(2):
        asked = np.concatenate([case.inputs["X"][:, column] for case in golden.stored])
        assert {0.0, float(limits.smallest_subnormal), 1e6, -1e6, np.inf, -np.inf} <= set(asked.tolist())
        assert np.isnan(asked).any()
        assert np.signbit(asked[asked == 0]).any()


def test_what_the_source_refuses_is_kept_in_the_signature_and_left_out_of_the_cases() -> None:
    golden = make_golden(SIGNATURE, SAMPLE, strict)
    x, word = golden.signature.inputs
    assert not x.takes_missing
    assert not x.takes_infinite
    assert not word.takes_missing
    assert not golden.signature.columns[0].nullable
    assert not {"missing", "infinite"} & {case.name for case in golden.stored}
    texts = next(case for case in golden.stored if case.name == "texts").inputs["word"].ravel().tolist()
    assert "a\x00b" not in texts
    assert "unseen-category" in texts
    for case in (*golden.stored, *golden.generated):
        assert np.isfinite(case.inputs["X"].astype(float)).all()


def test_a_matrix_whose_columns_differ_refuses_by_column() -> None:
    """One column that is imputed does not let another's NaN through, which a conversion might answer where the source raises."""

    def imputed(rows: Mapping[str, Tensor]) -> list[Tensor]:
        if np.isnan(rows["X"][:, 1:]).any() or np.isposinf(rows["X"][:, 2]).any():
            raise ValueError("Input X contains NaN")
        return [np.nansum(rows["X"], axis=1)]

    columns = tuple(Column(name=name, kind=ColumnKind.NUMBER, input="X", index=at) for at, name in enumerate("abc"))
    golden = make_golden(Signature(inputs=(X,), outputs=(Y,), columns=columns), {"X": SAMPLE["X"]}, imputed)
    spec = golden.signature.inputs[0]
    assert (spec.takes_missing, spec.refuses_missing_at) == (True, (1, 2))
    assert (spec.takes_infinite, spec.refuses_infinite_at) == (True, (2,))
    assert [column.nullable for column in golden.signature.columns] == [True, False, False]
    assert golden.refused == ("missing values in 2 of 3 positions of 'X'", "infinite values in 1 of 3 positions of 'X'")
    for case in (*golden.stored, *golden.generated):
        golden.signature.check_finite(case.inputs)
    assert np.isnan(golden.generated[0].inputs["X"][:, 0]).any()
    narrowed = without_missing(golden)
    assert narrowed is not None
    assert (narrowed.signature.inputs[0].takes_missing, narrowed.signature.inputs[0].refuses_missing_at) == (False, ())


WIDE = 300
WIDE_COLUMNS = tuple(Column(name=f"c{at}", kind=ColumnKind.NUMBER, input="X", index=at) for at in range(WIDE))
WIDE_SIGNATURE = Signature(inputs=(TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, WIDE)),), outputs=(Y,), columns=WIDE_COLUMNS)
WIDE_SAMPLE = {"X": np.random.default_rng(1).random((20, WIDE), dtype=np.float32)}


@pytest.mark.parametrize("refusing", [[], [7], [7, 8, 150, 299], list(range(WIDE))])
def test_columns_that_are_too_many_to_be_asked_one_by_one_are_asked_together(refusing: list[int]) -> None:
    asked = 0

    def source(rows: Mapping[str, Tensor]) -> list[Tensor]:
        nonlocal asked
        asked += 1
        if np.isnan(rows["X"][:, refusing]).any():
            raise ValueError("Input X contains NaN")
        return [np.nansum(rows["X"], axis=1, dtype=np.float64)]

    golden = make_golden(WIDE_SIGNATURE, WIDE_SAMPLE, source)
    found = [column.index for column in golden.signature.columns if not column.nullable]
    assert found == refusing
    spec = golden.signature.inputs[0]
    assert spec.takes_missing is (len(refusing) < WIDE)
    assert list(spec.refuses_missing_at) == (refusing if len(refusing) < WIDE else [])
    assert asked < 1500


def test_what_a_bounded_number_of_calls_does_not_tell_counts_as_refused() -> None:
    wide = 4000
    signature = Signature(inputs=(TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, wide)),), outputs=(Y,))

    def source(rows: Mapping[str, Tensor]) -> list[Tensor]:
        if np.isnan(rows["X"][:, ::3]).any():
            raise ValueError("Input X contains NaN")
        return [np.nansum(rows["X"], axis=1, dtype=np.float64)]

    golden = make_golden(signature, {"X": np.ones((9, wide), dtype=np.float32)}, source)
    spec = golden.signature.inputs[0]
    refused = set(range(wide)) if not spec.takes_missing else set(spec.refuses_missing_at)
    assert refused >= set(range(0, wide, 3))


def test_generated_rows_are_many_and_not_stored() -> None:
    golden = make_golden(SIGNATURE, SAMPLE, lenient)
    assert [case.rows for case in golden.generated] == [GENERATED_ROWS]
    assert all(case.rows < GENERATED_ROWS for case in golden.stored)
    again = make_golden(SIGNATURE, SAMPLE, lenient)
    assert np.array_equal(golden.generated[0].inputs["X"], again.generated[0].inputs["X"], equal_nan=True)


def test_extra_rows_are_a_case_of_their_own() -> None:
    extra = {"X": np.full((2, 3), 7.0), "word": np.array([["a"], ["a"]], dtype=object)}
    golden = make_golden(SIGNATURE, SAMPLE, lenient, extra)
    assert next(case for case in golden.stored if case.name == "thresholds").rows == 2


def test_a_model_without_a_batch_axis_is_asked_request_by_request() -> None:
    signature = Signature(inputs=(TensorSpec(name="X", datatype=Datatype.FP64, shape=(3,)),), outputs=())
    golden = make_static_golden(signature, [{"X": np.ones(3)}, {"X": np.zeros(3)}], lambda rows: [rows["X"]])
    assert [case.name for case in golden.stored] == ["sample-0", "sample-1", "zeros"]


def test_large_rows_make_few_of_them() -> None:
    """A golden set of pictures stays a few times CASE_BYTES, whatever the sample holds."""
    spec = TensorSpec(name="image", datatype=Datatype.FP32, shape=(BATCH, 3, 224, 224))
    signature = Signature(inputs=(spec,), outputs=(TensorSpec(name="mean", datatype=Datatype.FP32, shape=(BATCH,)),))
    sample = {"image": np.random.default_rng(3).random((40, 3, 224, 224), dtype=np.float32)}
    golden = make_golden(
        signature, sample, lambda rows: [np.nan_to_num(rows["image"]).mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)]
    )
    sizes = {case.name: sum(tensor.nbytes for tensor in case.inputs.values()) for case in golden.stored}
    assert max(sizes.values()) <= CASE_BYTES
    assert sum(sizes.values()) <= 5 * CASE_BYTES
    assert golden.stored[0].rows >= 8


def test_a_golden_set_without_missing_values_is_one_whose_signature_refuses_them() -> None:
    golden = make_golden(SIGNATURE, SAMPLE, lenient)
    assert any(case.name == "missing" for case in golden.stored)
    narrowed = without_missing(golden)
    assert narrowed is not None
    assert [spec.takes_missing for spec in narrowed.signature.inputs] == [False, golden.signature.inputs[1].takes_missing]
    assert "missing values in 'X'" in narrowed.refused
    before = {case.name: case for case in (*golden.stored, *golden.generated)}
    for case in (*narrowed.stored, *narrowed.generated):
        assert not np.isnan(case.inputs["X"]).any()
        assert len(case.outputs[0]) == case.rows <= before[case.name].rows
        assert np.array_equal(case.outputs[0], lenient(case.inputs)[0])  # answers stay with their rows
    assert {case.name for case in narrowed.stored} >= {"sample", "infinite", "single"}
    assert without_missing(narrowed) is None

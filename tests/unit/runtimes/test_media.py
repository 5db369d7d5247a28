"""The session around a step of files: what an element may be, how rows run together, and what is made of the outputs."""

import base64
from typing import Any

import numpy as np
import pytest

from aweigh.core.errors import InvalidFile, InvalidInput, TooLarge
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.steps import BoxesAnswer, LabelAnswer, SoundStep
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.packing.media_sample import sound_file
from aweigh.runtimes import media, sounds
from aweigh.runtimes.media import file_of
from aweigh.runtimes.media_answers import BOXES_OUTPUTS, Placed, answerer, corners, suppressed
from aweigh.testing import FakeSession

TAKEN = TensorSpec(name="sound", datatype=Datatype.BYTES, shape=(BATCH, 1))


def column(*files: object) -> dict[str, Tensor]:
    rows = np.empty((len(files), 1), dtype=object)
    rows[:, 0] = list(files)
    return {"sound": rows}


def spec(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, datatype=Datatype.FP32, shape=shape)


def of_sounds(function: Any, *, first: int | str = BATCH, answer: LabelAnswer | None = None) -> Any:
    inner = Signature(inputs=(spec("x", first, "time"),), outputs=(spec("y", first, 2),))
    outer = Signature(inputs=(TAKEN,), outputs=(spec("y", BATCH, 2),))
    step = SoundStep(input="sound", rate=8000, answer=answer, model_signature=inner)
    return sounds.around(FakeSession(function), step, outer, lambda _: None)  # type: ignore[arg-type,return-value]  # no file


def lengths(seen: list[tuple[int, ...]]) -> Any:
    def run(inputs: Tensors) -> list[Tensor]:
        x = inputs["x"]
        seen.append(x.shape)
        return [np.stack([np.full(len(x), x.shape[1]), x[:, 0]], axis=1).astype(np.float32)]

    return run


def test_sounds_of_one_length_run_together_and_answers_keep_their_order() -> None:
    seen: list[tuple[int, ...]] = []
    files = [sound_file(np.full(size, at / 10), 8000) for at, size in enumerate((300, 200, 300, 100, 200))]
    found = of_sounds(lengths(seen)).run(column(*files))
    np.testing.assert_allclose(found[0], [[300, 0], [200, 0.1], [300, 0.2], [100, 0.3], [200, 0.4]])
    assert sorted(seen) == [(1, 100), (2, 200), (2, 300)]


def test_a_model_of_one_at_a_time_is_asked_so() -> None:
    seen: list[tuple[int, ...]] = []
    found = of_sounds(lengths(seen), first=1).run(column(*[sound_file(np.zeros(50), 8000)] * 3))
    assert seen == [(1, 50)] * 3
    assert found[0].shape == (3, 2)


def test_large_batches_run_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "_MAX_ELEMENTS_A_CALL", 100)
    seen: list[tuple[int, ...]] = []
    assert of_sounds(lengths(seen)).run(column(*[sound_file(np.zeros(40), 8000)] * 5))[0].shape == (5, 2)
    assert seen == [(2, 40), (2, 40), (1, 40)]


def test_rows_are_read_as_they_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more of them than run together wait, so that many small files do not become as many large tensors."""
    monkeypatch.setattr(media, "_MAX_ELEMENTS_A_CALL", 100)
    monkeypatch.setattr(media, "_MAX_ELEMENTS_HELD", 130)
    seen: list[tuple[int, ...]] = []
    file = sound_file(np.zeros(40), 8000)
    with pytest.raises(InvalidInput, match="row 4"):
        of_sounds(lengths(seen)).run(column(file, file, file, file, b"junk"))
    assert seen == [(2, 40)]
    seen.clear()
    files = [sound_file(np.full(size, 0.5), 8000) for size in (40, 50, 40, 30, 20, 50)]
    assert of_sounds(lengths(seen)).run(column(*files))[0][:, 0].tolist() == [40, 50, 40, 30, 20, 50]
    assert seen == [(2, 40), (1, 50), (1, 30), (1, 20), (1, 50)]


@pytest.mark.parametrize("first", [BATCH, 1])
def test_no_rows_are_answered_by_none(first: int | str) -> None:
    seen: list[tuple[int, ...]] = []
    (found,) = of_sounds(lengths(seen), first=first).run(column())
    assert (found.shape, found.dtype, seen) == ((0, 2), np.float32, [])


def test_an_element_is_a_file_or_its_base64() -> None:
    file = sound_file(np.zeros(4), 8000)
    text = base64.b64encode(file).decode()
    for item in (file, text, f"data:audio/wav;base64,{text}", file.decode()):
        assert file_of(item, "sound") == file


@pytest.mark.parametrize(
    ("item", "said"),
    [(None, "no sound"), (b"", "empty"), ("", "empty"), ("/etc/passwd", "base64"), ("http://a/b.wav", "base64"), ("ä", "base64")],
)
def test_what_is_no_file_is_refused(item: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        file_of(item, "sound")


def test_refusals_name_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="input 'sound', row 1: not a WAV"):
        of_sounds(lengths([])).run(column(sound_file(np.zeros(4), 8000), b"junk"))
    monkeypatch.setattr(media, "MAX_FILE_BYTES", 10)
    with pytest.raises(TooLarge):
        file_of(b"x" * 11, "sound")


def test_labels_and_softmax() -> None:
    inner = Signature(inputs=(spec("x", BATCH),), outputs=(spec("y", BATCH, 2),))
    outer = Signature(
        inputs=(TAKEN,), outputs=(TensorSpec(name="label", datatype=Datatype.BYTES, shape=(BATCH,)), spec("p", BATCH, 2)), labels=("a", "b")
    )
    scores = np.array([[0.0, 2.0], [1000.0, 0.0]], dtype=np.float32)
    label, chances = answerer(LabelAnswer(softmax=True), outer, inner)([scores], [None, None], together=True)
    assert label.tolist() == ["b", "a"]
    np.testing.assert_allclose(chances, [[1 / (1 + np.e**2), 1 / (1 + np.e**-2)], [1, 0]], atol=1e-6)
    alone = answerer(LabelAnswer(), outer, inner)([scores[0]], [None], together=False)
    assert alone[1].tolist() == [[0, 2]]
    with pytest.raises(InvalidFile):
        answerer(LabelAnswer(), Signature(inputs=(TAKEN,), outputs=outer.outputs), inner)


def boxed(answer: BoxesAnswer, outputs: dict[str, Any], *, together: bool = True, placed: Placed | None = None) -> list[Tensor]:
    inner = Signature(inputs=(spec("x", BATCH),), outputs=tuple(spec(name, BATCH, "n") for name in outputs))
    outer = Signature(inputs=(TAKEN,), outputs=tuple(spec(name, BATCH) for name in BOXES_OUTPUTS), labels=("a", "b"))
    arrays = [np.array(output, dtype=np.float32) for output in outputs.values()]
    return answerer(answer, outer, inner)(arrays, [placed], together=together)


def test_boxes_in_every_form_become_corners() -> None:
    expected = [[10, 20, 30, 60]]
    for form, box in (("xyxy", [10, 20, 30, 60]), ("yxyx", [20, 10, 60, 30]), ("xywh", [10, 20, 20, 40]), ("cxcywh", [20, 40, 20, 40])):
        assert corners(np.array([box], dtype=np.float64), form).tolist() == expected  # type: ignore[arg-type]  # literals


def test_overlapping_boxes_of_one_class_are_one() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [0, 0, 10, 10]], dtype=np.float64)
    scores, classes = np.array([0.8, 0.9, 0.7, 0.6]), np.array([0, 0, 0, 1])
    assert suppressed(boxes, scores, classes, overlap=0.5, most=9).tolist() == [1, 2, 3]
    assert suppressed(boxes, scores, classes, overlap=1.0, most=9).tolist() == [1, 0, 2, 3]
    assert suppressed(boxes, scores, classes, overlap=0.5, most=1).tolist() == [1]
    assert suppressed(boxes[:0], scores[:0], classes[:0], overlap=0.5, most=9).tolist() == []


def test_boxes_lie_in_the_image_that_was_sent() -> None:
    placed = Placed(width=200, height=100, picture_width=50, picture_height=50, left=50, top=0, across=2, down=2)
    said = {"b": [[[0.1, 0.2, 0.5, 0.6], [0, 0, 2, 2], [np.nan, 0, 1, 1]]], "s": [[0.9, 0.8, 0.99]], "c": [[1, 0, 0]]}
    boxes, scores, classes, count = boxed(BoxesAnswer(boxes="b", scores="s", classes="c", unit=True, most=3), said, placed=placed)
    np.testing.assert_allclose(boxes[0], [[60, 20, 100, 60], [50, 0, 200, 100], [0, 0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(scores[0], [0.9, 0.8, 0], rtol=1e-6)
    assert classes.tolist() == [[1, 0, -1]]
    assert count.tolist() == [2]


def test_detectors_of_other_forms() -> None:
    by_class = {"b": [[[0, 0, 4, 4], [10, 10, 14, 14]]], "s": [[[0.1, 0.7], [0.6, 0.2]]]}
    joined = {"o": [[[0, 0, 4, 4, 0.1, 0.7], [10, 10, 14, 14, 0.6, 0.2]]]}
    turned = {"o": np.array(joined["o"]).transpose(0, 2, 1)}
    alone = {"b": by_class["b"][0], "s": [0.7, 0.6], "c": [1, 0]}
    for answer, outputs, together in (
        (BoxesAnswer(boxes="b", scores="s"), by_class, True),
        (BoxesAnswer(boxes="o"), joined, True),
        (BoxesAnswer(boxes="o", turned=True), turned, True),
        (BoxesAnswer(boxes="b", scores="s", classes="c"), alone, False),
        (BoxesAnswer(boxes="b", scores="s", classes="c"), {name: [each] for name, each in alone.items()}, False),
    ):
        boxes, scores, classes, count = boxed(answer, outputs, together=together)
        assert boxes[0, :2].tolist() == [[0, 0, 4, 4], [10, 10, 14, 14]]
        np.testing.assert_allclose(scores[0, :2], [0.7, 0.6], rtol=1e-6)
        assert (classes[0, :2].tolist(), count.tolist()) == ([1, 0], [2])
    with pytest.raises(InvalidFile):
        boxed(BoxesAnswer(boxes="missing"), by_class)
    nothing = boxed(BoxesAnswer(boxes="b", scores="s", least_score=0.99), by_class)
    assert nothing[3].tolist() == [0]


@pytest.mark.parametrize(
    ("answer", "outputs", "said"),
    [
        (BoxesAnswer(boxes="b", scores="s", classes="c"), {"b": (1, 20, 4), "s": (1, 20, 3), "c": (1, 20)}, "output 's' gives .20, 3."),
        (BoxesAnswer(boxes="b", scores="s", classes="c"), {"b": (1, 20, 4), "s": (1, 20), "c": (1, 19)}, "output 'c' gives .19."),
        (BoxesAnswer(boxes="b", scores="s"), {"b": (1, 20, 3), "s": (1, 20)}, "output 'b' gives .20, 3."),
        (BoxesAnswer(boxes="b"), {"b": (1, 20)}, "output 'b' gives .20."),
        (BoxesAnswer(boxes="b"), {"b": (1, 20, 4)}, "5 numbers or more"),
        (BoxesAnswer(boxes="b", scores="s"), {"b": (1, 20, 4), "s": (1, 3, 19)}, "output 's' gives .3, 19."),
        (BoxesAnswer(boxes="b", scores="s"), {"b": (1, 20, 1, 4), "s": (1, 20, 3)}, "output 'b' gives .20, 1, 4."),
    ],
)
def test_outputs_that_are_no_boxes_are_named(answer: BoxesAnswer, outputs: dict[str, tuple[int, ...]], said: str) -> None:
    random = np.random.default_rng(0)
    with pytest.raises(InvalidFile, match=said):
        boxed(answer, {name: random.random(shape) for name, shape in outputs.items()})

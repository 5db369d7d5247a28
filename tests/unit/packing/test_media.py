"""Words that say how files are read, and the files that models are proven on."""

from pathlib import Path

import numpy as np
import pytest

from aweigh.core.errors import FileMissing, InvalidFile, InvalidInput
from aweigh.core.steps import BoxesAnswer, ImageStep, LabelAnswer, SoundStep
from aweigh.packing.media import read_plan
from aweigh.packing.media_package import media_of
from aweigh.packing.media_sample import edge_files, given_files, made_files, read_files, sound_file
from aweigh.packing.sample import read_sample, write_sample
from aweigh.runtimes.images import image_file


def test_words_of_images() -> None:
    plan = read_plan("size=48x64 mode=grey shortest=70 resize=bicubic scale=1/255 mean=0.5 std=0.25 layout=nhwc", "", "labels=a,b softmax")
    assert plan is not None
    step = plan.step
    assert isinstance(step, ImageStep)
    assert (step.height, step.width, step.mode, step.shortest, step.interpolation) == (48, 64, "L", 70, "bicubic")
    assert (step.scale, step.mean, step.std, step.layout) == (1 / 255, (0.5,), (0.25,), "NHWC")
    assert plan.answer == LabelAnswer(softmax=True)
    assert plan.labels == ("a", "b")
    square = read_plan("size=32", "", "")
    assert square is not None
    assert isinstance(square.step, ImageStep)
    assert (square.step.height, square.step.width, square.answer) == (32, 32, None)


def test_words_of_sounds_and_boxes(tmp_path: Path) -> None:
    plan = read_plan("", "rate=16000 seconds=0.5 normalise mel=40 window=256 hop=128 to=7600", "")
    assert plan is not None
    assert isinstance(plan.step, SoundStep)
    assert plan.step.mel is not None
    assert (plan.step.samples, plan.step.normalise, plan.step.mel.bands, plan.step.mel.highest_hz, plan.step.layout) == (
        8000,
        True,
        40,
        7600,
        "NMT",
    )
    (tmp_path / "labels.txt").write_text("cat\n dog \n\n")
    found = read_plan("size=64", "", f"labels=@{tmp_path / 'labels.txt'} boxes=b scores=s form=cxcywh unit score=0.3 overlap=0.4 most=7")
    assert found is not None
    assert found.labels == ("cat", "dog")
    assert found.answer == BoxesAnswer(boxes="b", scores="s", form="cxcywh", unit=True, least_score=0.3, overlap=0.4, most=7)
    assert read_plan("", "", "") is None


@pytest.mark.parametrize(
    ("image", "sound", "answer", "said"),
    [
        ("size=1", "rate=16000", "", "both"),
        ("", "", "labels=a", "goes with"),
        ("scale=1", "", "", "'size' is missing"),
        ("size=ax3", "", "", "a, expected|size=a"),
        ("size=3 size=4", "", "", "there twice"),
        ("size=", "", "", "without a value"),
        ("size=3 scales=1", "", "", "unexpected 'scales'"),
        ("size=3 scale=1/0", "", "", "scale=1/0"),
        ("size=3 scale=inf", "", "", "scale=inf"),
        ("size=3 layout=CHW", "", "", "layout=CHW|layout=chw"),
        ("size=3 layout=NHW", "", "", "no place for colours"),
        ("size=3", "", "softmax", "'labels' is missing"),
        ("size=3", "", "labels=@/nowhere/labels.txt", "cannot be read"),
        ("size=3", "", "labels=a boxes=b most=0", "cannot be"),
        ("", "rate=16000", "labels=a boxes=b", "goes with --image"),
        ("", "seconds=1", "", "'rate' is missing"),
        ("", "rate=fast", "", "rate=fast"),
        ("", "rate=16000 layout=NMT", "", "layout="),
    ],
)
def test_words_that_are_wrong_are_named(image: str, sound: str, answer: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_plan(image, sound, answer)


@pytest.mark.parametrize(
    ("image", "sound"),
    [
        ("size=0x0", ""),
        ("size=-5x5", ""),
        ("", "rate=0"),
        ("", "rate=-16000"),
        ("", "rate=16000 seconds=-1"),
        ("", "rate=16000 mel=80 window=0"),
    ],
)
def test_steps_that_cannot_be_are_refused_before_files_are_made_up(image: str, sound: str) -> None:
    plan = read_plan(image, sound, "")
    assert plan is not None
    with pytest.raises(InvalidFile, match="step that cannot be"):
        media_of(plan, None)


def test_an_array_of_no_pixels_is_no_image() -> None:
    with pytest.raises(InvalidInput, match="is no image"):
        image_file(np.zeros((0, 4, 3), dtype=np.uint8))


def test_samples_of_files(tmp_path: Path) -> None:
    plan = read_plan("size=8", "", "")
    assert plan is not None
    arrays = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    files = [image_file(array) for array in arrays]
    (tmp_path / "deep").mkdir()
    for at, data in enumerate(files):
        (tmp_path / ("deep" if at else ".") / f"{at}.png").write_bytes(data)
    (tmp_path / "notes.txt").write_text("no image")
    for given in (tmp_path, arrays, files, [tmp_path / "0.png", tmp_path / "deep" / "1.png", tmp_path / "deep" / "2.png"]):
        assert sorted(read_files(given, plan.step).data["image"].ravel()) == sorted(files)
    told = tmp_path / "told.tensors"
    sample = given_files(files)
    assert sample is not None
    told.write_bytes(write_sample(sample))
    assert read_files(str(told), plan.step).data["image"].ravel().tolist() == files
    told.write_bytes(write_sample(read_sample(arrays)))
    assert read_files(str(told), plan.step).data["image"].ravel().tolist() == files
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="no image file"):
        read_files(tmp_path / "empty", plan.step)
    with pytest.raises(InvalidInput, match="holds no images"):
        read_files(["a", "b"], plan.step)
    with pytest.raises(FileMissing):
        read_files(tmp_path / "gone.png", plan.step)


def test_made_and_edge_files_can_be_read() -> None:
    from aweigh.runtimes import images, sounds

    image, sound = read_plan("size=16", "", ""), read_plan("", "rate=8000 seconds=0.2 mel=20", "")
    assert image is not None
    assert sound is not None
    for plan, read in ((image, images.reader(image.step)), (sound, sounds.reader(sound.step))):  # type: ignore[arg-type]  # each its own
        files = [*made_files(plan.step).data[plan.step.input].ravel(), *(file for _, _, edges in edge_files(plan.step) for file in edges)]
        assert len({read(file).tensor.shape for file in files}) == 1
    with pytest.raises(InvalidInput):
        sound_file(np.zeros((2, 2)), 8000)

"""What a person says of files that a model is asked with: `--image`, `--sound` and `--answer`, short texts of KEY=VALUE words. Called by `pack`.

Says nothing of one model: steps are made of a plan once the model's signature is known (`media_package.py`).
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from aweigh.core.errors import InvalidInput
from aweigh.core.nearest import nearest
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.steps import BoxesAnswer, ImageStep, LabelAnswer, MediaAnswer, MediaStep, Mel, SoundStep
from aweigh.core.tensors import Datatype

_Value = TypeVar("_Value")
_MAX_LABELS_BYTES: Final = 4 * 1024 * 1024
UNKNOWN: Final = Signature(inputs=(TensorSpec(name="", datatype=Datatype.FP32, shape=(BATCH,)),), outputs=())
"""Stands for a signature that is not known yet: numbers as they come."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How files are read, and what is made of the answers; `labels` name the classes in their order."""

    step: MediaStep
    answer: MediaAnswer | None = None
    labels: tuple[str, ...] = ()

    def around(self, signature: Signature) -> MediaStep:
        """The step for a model of that signature."""
        return msgspec.structs.replace(self.step, model_signature=signature, answer=self.answer)


def read_plan(image: str, sound: str, answer: str) -> Plan | None:
    """The plan that the options make; None where the model is not asked with files. Raises InvalidInput that names the word which is wrong."""
    if image and sound:
        raise InvalidInput("--image and --sound were both given", hint="a model is asked with one of them")
    if not image and not sound:
        if answer:
            raise InvalidInput("--answer goes with --image or --sound", hint="leave it out, or say how the model's files are read")
        return None
    step: MediaStep = _image(_Words(image, "--image")) if image else _sound(_Words(sound, "--sound"))
    found, labels = _answer(_Words(answer, "--answer")) if answer else (None, ())
    if isinstance(found, BoxesAnswer) and sound:
        raise InvalidInput("--answer boxes=… goes with --image", hint="a sound has no boxes")
    return Plan(step=step, answer=found, labels=labels)


class _Words:
    """KEY=VALUE words of one option, each taken once; `done` refuses what nobody took."""

    def __init__(self, text: str, option: str) -> None:
        self._option = option
        self._known: list[str] = []
        self._given: dict[str, str] = {}
        for word in text.split():
            key, equals, value = word.partition("=")
            if key in self._given or (equals and not value):
                raise InvalidInput(f"{option}: {word[:80]!r} is {'there twice' if key in self._given else 'without a value'}")
            self._given[key] = value if equals else "yes"

    def text(self, key: str, default: str = "") -> str:
        self._known.append(key)
        return self._given.pop(key, default)

    def needed(self, key: str, example: str) -> str:
        """Of a word that must be there."""
        found = self.text(key)
        if not found:
            raise InvalidInput(f"{self._option}: '{key}' is missing", hint=f"for example {example}")
        return found

    def flag(self, key: str) -> bool:
        return self.read(key, self.text(key, "no"), {"yes": True, "no": False}.__getitem__, "yes or no")

    def number(self, key: str, default: float) -> float:
        return self.read(key, self.text(key, str(default)), _number, "a number, also 1/255")

    def whole(self, key: str, default: int) -> int:
        return self.read(key, self.text(key, str(default)), int, "a whole number")

    def numbers(self, key: str) -> tuple[float, ...]:
        given = self.text(key)
        return self.read(key, given, lambda text: tuple(map(_number, text.split(","))), "numbers with commas between") if given else ()

    def one_of(self, key: str, default: str, choices: Mapping[str, str]) -> Any:  # one of a Literal's, which mypy cannot follow
        return self.read(key, self.text(key, default).lower(), choices.__getitem__, f"one of {', '.join(choices)}")

    def done(self) -> None:
        for key in self._given:
            near = nearest(key, self._known)
            hint = f"did you mean '{near}'?" if near else f"it takes {', '.join(self._known)}"
            raise InvalidInput(f"{self._option}: unexpected {key[:80]!r}", hint=hint)

    def read(self, key: str, text: str, read: Callable[[str], _Value], expected: str) -> _Value:
        try:
            return read(text)
        except (ValueError, KeyError, ZeroDivisionError):
            raise InvalidInput(f"{self._option}: {key}={text[:80]}", hint=f"expected {expected}") from None


def _number(text: str) -> float:
    above, slash, below = text.partition("/")
    found = float(above) / float(below) if slash else float(text)
    if not math.isfinite(found):
        raise ValueError(text)
    return found


def _same(*choices: str) -> dict[str, str]:
    return {choice.lower(): choice for choice in choices}


def _image(words: _Words) -> ImageStep:
    high, cross, wide = words.needed("size", "size=224x224 (height x width)").lower().partition("x")
    step = ImageStep(
        input="image",
        mode=words.one_of("mode", "rgb", {"rgb": "RGB", "bgr": "BGR", "grey": "L"}),
        shortest=words.whole("shortest", 0),
        height=words.read("size", high, int, "HEIGHTxWIDTH"),
        width=words.read("size", wide if cross else high, int, "HEIGHTxWIDTH"),
        interpolation=words.one_of("resize", "bilinear", _same("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")),
        scale=words.number("scale", 1.0),
        mean=words.numbers("mean"),
        std=words.numbers("std"),
        layout=words.one_of("layout", "nchw", _same("NCHW", "NHWC", "NHW", "flat")),
        model_signature=UNKNOWN,
    )
    words.done()
    if step.layout == "NHW" and step.mode != "L":
        raise InvalidInput("--image: layout=NHW has no place for colours", hint="add mode=grey")
    return step


def _sound(words: _Words) -> SoundStep:
    rate = words.read("rate", words.needed("rate", "rate=16000"), int, "samples a second")
    bands = words.whole("mel", 0)
    mel = Mel(
        bands=bands, window=words.whole("window", 400), hop=words.whole("hop", 160),
        lowest_hz=words.number("from", 0.0), highest_hz=words.number("to", 0.0),
    ) if bands else None  # fmt: skip
    layouts = _same("NMT", "NTM", "NCMT", "NCTM", "flat") if bands else _same("NT", "NCT", "flat")
    step = SoundStep(
        input="sound",
        rate=rate,
        samples=round(words.number("seconds", 0.0) * rate),
        normalise=words.flag("normalise"),
        mel=mel,
        layout=words.one_of("layout", "nmt" if bands else "nt", layouts),
        model_signature=UNKNOWN,
    )
    words.done()
    return step


def _answer(words: _Words) -> tuple[MediaAnswer, tuple[str, ...]]:
    labels = _labels(words.needed("labels", "labels=cat,dog or labels=@labels.txt, one a line, in the order of the classes"))
    boxes = words.text("boxes")
    answer: MediaAnswer
    if boxes:
        answer = BoxesAnswer(
            boxes=boxes,
            scores=words.text("scores"),
            classes=words.text("classes"),
            form=words.one_of("form", "xyxy", _same("xyxy", "yxyx", "xywh", "cxcywh")),
            unit=words.flag("unit"),
            turned=words.flag("turned"),
            least_score=words.number("score", 0.5),
            overlap=words.number("overlap", 0.5),
            most=words.whole("most", 100),
        )
        if not 1 <= answer.most <= 1000 or not 0 <= answer.overlap <= 1 or (answer.classes and not answer.scores):
            raise InvalidInput("--answer: boxes that cannot be", hint="most is 1 to 1000, overlap 0 to 1, and classes go with scores")
    else:
        answer = LabelAnswer(softmax=words.flag("softmax"))
    words.done()
    return answer, labels


def _labels(text: str) -> tuple[str, ...]:
    if not text.startswith("@"):
        return tuple(text.split(","))
    file = Path(text[1:])
    try:
        if file.stat().st_size > _MAX_LABELS_BYTES:
            raise InvalidInput(f"--answer: {file} is larger than {_MAX_LABELS_BYTES} bytes", hint="give one label a line")
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"--answer: {file} cannot be read: {error}", hint="give one label a line, in UTF-8") from error
    return tuple(line.strip() for line in lines if line.strip())

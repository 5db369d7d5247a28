"""Declared steps around a runtime: what a package asks aweigh's own code to do with requests before its model sees them, and with answers after it.

A step is data, never code of the package: a kind from the table of plug-ins, files of the variant and figures. It belongs to a variant, so that what
is proven, replayed at load and served is one and the same.
"""

from typing import ClassVar, Literal

import msgspec

from aweigh.core.signature import Signature

Answer = Literal["", "label", "entities", "span"]
"""What is made of the model's outputs: nothing; the likeliest label; the entities among a text's tokens; the stretch of text that answers."""


class TextStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="text"):
    """Texts become tokens, by the tokenizer in a file of the variant."""

    tokenizer: str
    """A tokenizer.json, by its path in the package."""
    texts: tuple[str, ...]
    """The package's inputs that hold texts: one, or two that are read as a pair."""
    max_tokens: int
    truncation: Literal["longest_first", "only_second"] = "longest_first"
    cuts: Literal["left", "right"] = "right"
    pads: Literal["left", "right"] = "right"
    """The sides on which texts are cut and filled up."""
    prefix: str = ""
    """What every text is given before it."""
    answer: Answer = ""
    model_signature: Signature
    """What the model takes and gives between the step's two halves; paddings of its inputs are what shorter texts are filled up with."""

    uneven: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """Its name in the table of plug-ins."""
        return "text"

    @property
    def files(self) -> tuple[str, ...]:
        """Files of the variant that are the step's own."""
        return (self.tokenizer,)


class LabelAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="label"):
    """The model's only output, a number for each class, becomes the likeliest label and the probabilities."""

    softmax: bool = False
    """Whether the model gives scores of which softmax makes probabilities; without it, it gives probabilities."""


BoxForm = Literal["xyxy", "yxyx", "xywh", "cxcywh"]
"""What four numbers say of a box: two corners, the same with y first, a corner and the size, the middle and the size."""


class BoxesAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="boxes"):
    """What a detector gives becomes the boxes that are left over: those scored high enough, of overlapping ones of a class the best alone."""

    boxes: str
    """The model's output with the boxes; with the scores of all classes behind the four numbers where `scores` is empty."""
    scores: str = ""
    """The output with one score a box, or one for each class."""
    classes: str = ""
    """The output with each box's class, where `scores` holds one a box."""
    form: BoxForm = "xyxy"
    unit: bool = False
    """Whether coordinates are parts of the model's picture (0 to 1), not its pixels."""
    turned: bool = False
    """Whether the boxes stand on the last axis, not on the one before it."""
    least_score: float = 0.5
    overlap: float = 0.5
    """Boxes of one class that share more than this part of their union are one; 1 keeps all."""
    most: int = 100
    """Boxes that are given for an image at most, the best first."""


MediaAnswer = LabelAnswer | BoxesAnswer


class ImageStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="image"):
    """Image files become the tensor that the model was trained on, in this order: upright, mode, resize, crop, scale, mean and std, layout."""

    input: str
    """The package's input that holds image files."""
    mode: Literal["RGB", "BGR", "L"] = "RGB"
    shortest: int = 0
    """The shorter side becomes so many pixels and the longer one keeps its proportion, before the crop; 0 resizes to `height` and `width` outright."""
    height: int
    width: int
    interpolation: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"
    """As Pillow does it, antialiased."""
    scale: float = 1.0
    """What pixels of 0 to 255 are multiplied with."""
    mean: tuple[float, ...] = ()
    """Subtracted after that, by channel or for all of them."""
    std: tuple[float, ...] = ()
    layout: Literal["NCHW", "NHWC", "NHW", "flat"] = "NCHW"
    answer: MediaAnswer | None = None
    model_signature: Signature
    """What the model takes and gives between the step's two halves: one input."""

    uneven: ClassVar[bool] = True
    """Whether one file may cost a thousand times what another does."""

    @property
    def kind(self) -> str:
        """Its name in the table of plug-ins."""
        return "image"

    @property
    def files(self) -> tuple[str, ...]:
        """Files of the variant that are the step's own."""
        return ()


class Mel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The logarithm of the power in bands of the mel scale (HTK's formula, triangles of height 1), of overlapping windows (Hann's), ends mirrored."""

    bands: int
    window: int = 400
    """Samples of one window."""
    hop: int = 160
    """Samples from one window to the next."""
    lowest_hz: float = 0.0
    highest_hz: float = 0.0
    """0 = half the rate."""
    floor: float = 1e-10
    """What smaller powers are taken for before the logarithm (natural)."""


class SoundStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="sound"):
    """WAV files become the tensor that the model was trained on, in this order: mixed down, resampled, cut or filled up, normalised, mel bands, layout."""

    input: str
    """The package's input that holds WAV files."""
    rate: int
    """Samples a second that the model takes; others are resampled (windowed sinc)."""
    samples: int = 0
    """Sounds are cut to so many samples or filled up with silence at the end; 0 leaves them as long as they are."""
    normalise: bool = False
    """Whether each sound is brought to mean 0 and variance 1."""
    mel: Mel | None = None
    layout: Literal["NT", "NCT", "NMT", "NTM", "NCMT", "NCTM", "flat"] = "NT"
    """N the sounds, C one channel, T samples or windows in time, M bands."""
    answer: LabelAnswer | None = None
    model_signature: Signature

    uneven: ClassVar[bool] = True
    """Whether one file may cost a thousand times what another does."""

    @property
    def kind(self) -> str:
        """Its name in the table of plug-ins."""
        return "sound"

    @property
    def files(self) -> tuple[str, ...]:
        """Files of the variant that are the step's own."""
        return ()


MediaStep = ImageStep | SoundStep
Step = TextStep | ImageStep | SoundStep
"""All kinds there are."""

"""What may be said about a source that is to be packed. Apart from `pack`, so that naming options does not load the converters."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """`sample` and `labels` are paths or objects; `pre` and `post` name hooks as module:function."""

    sample: object = None
    labels: object = None
    trust: bool = False
    factory: str = ""
    """What makes the module that weights belong to, as module:factory."""
    opset: int = 0
    """Of the ONNX that is wanted; 0 leaves it to the framework."""
    pre: str = ""
    post: str = ""
    image: str = ""
    """How images become what the model takes: "size=224x224 scale=1/255"."""
    sound: str = ""
    """How WAV files do: "rate=16000 seconds=1"."""
    answer: str = ""
    """What is made of such a model's outputs: "labels=cat,dog softmax", or boxes."""
    padding: Mapping[str, int | float | str] = dataclasses.field(default_factory=dict)
    """Of inputs by name: what fills them up so that requests of different sizes can run together. Numbers may come as text."""
    tolerances: Mapping[str, tuple[float, float | None]] = dataclasses.field(default_factory=dict)
    """Of float outputs by name ("" for all): rtol, and atol where it is given too."""
    also: tuple[str, ...] = ()
    """Further variants to prove of what was packed as ONNX: "openvino", or "onnxruntime:PROVIDER"."""
    licence: str = ""
    description: str = ""
    command: str = ""
    """The command line, for the provenance."""

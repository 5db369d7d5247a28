"""The Python interface of packing: `aweigh.pack`."""

from collections.abc import Mapping, Sequence
from typing import Final

from aweigh.app.options import PackOptions
from aweigh.app.pack import pack_and_publish
from aweigh.core.settings import read_settings
from aweigh.store import StoredPackage

_MORE: Final = ("factory", "pre", "post", "image", "sound", "answer", "licence", "description")


def pack(
    source: object,
    name: str,
    *,
    sample: object = None,
    labels: object = None,
    trust: bool = False,
    aliases: tuple[str, ...] = (),
    padding: Mapping[str, int | float | str] | None = None,
    tolerances: Mapping[str, tuple[float, float | None]] | None = None,
    also: Sequence[str] = (),
    opset: int = 0,
    **more: object,
) -> StoredPackage:
    """Pack a model file (a path) or a live model, prove it, and publish it as the next version of `name`.

    `sample` and `labels` are what the model was trained or tested on: a DataFrame, an array, rows, or a path;
    `labels` may be the name of one of the sample's columns. `trust=True` allows a pickle
    to be loaded. `padding` says with what inputs may be filled up, `{"ids": 0, "mask": 0}`, so that requests of different sizes run together.
    `tolerances` holds outputs of floats to other bounds, `{"logits": (1e-3, None)}`: rtol, and atol or None for the datatype's; "" means all outputs.
    `factory`, "module:factory", makes the PyTorch or Flax module that a file of weights belongs to, or is the JAX function that takes them. `pre` and `post` name hooks as "module:function". Any setting, such as `home`, may be given too.
    `opset` is the one that the ONNX must have; a framework that writes another is refused.
    `image` or `sound` say how files become the model's input, and `answer` what is made of its outputs; the sample is then a folder of files, a list of paths, or an array.
    `also` names what else is to be proven: "openvino" or "onnxruntime:cuda" of what becomes ONNX, "lleaves" of a LightGBM model; "tensorflow", "torch", "torchscript", "torch-eager" keep a network in that form too.

    Returns the stored package: `.reference` (name and version), `.digest`, `.manifest` with the evidence.
    Raises AweighError: UnknownFormat, NotTrusted, InvalidFile, InvalidInput, ProofFailed, MissingLibrary, StoreUnavailable.

    >>> import aweigh
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> package = aweigh.pack(LogisticRegression(max_iter=500).fit(X, y), "iris", sample=X, labels=y)
    >>> package.manifest.variants[0].evidence.passed
    True
    """
    said = {key: str(more.pop(key)) for key in _MORE if key in more}
    options = PackOptions(
        sample=sample, labels=labels, trust=trust, padding=padding or {}, tolerances=tolerances or {}, also=tuple(also), opset=opset, **said
    )
    return pack_and_publish(
        read_settings(more, parameters=[*(pack.__kwdefaults__ or ()), *_MORE])[0], source, name, options=options, aliases=aliases
    )

"""The Python interface of packing: `aweigh.pack`."""

from collections.abc import Mapping

from aweigh.app.options import PackOptions
from aweigh.app.pack import pack_and_publish
from aweigh.core.settings import read_settings
from aweigh.store import StoredPackage


def pack(
    source: object,
    name: str,
    *,
    sample: object = None,
    labels: object = None,
    trust: bool = False,
    aliases: tuple[str, ...] = (),
    padding: Mapping[str, int | float | str] | None = None,
    **more: object,
) -> StoredPackage:
    """Pack a model file (a path) or a live model, prove it, and publish it as the next version of `name`.

    `sample` and `labels` are what the model was trained or tested on: a DataFrame, an array, rows, or a path. `trust=True` allows a pickle
    to be loaded. `padding` says with what inputs may be filled up, `{"ids": 0, "mask": 0}`, so that requests of different sizes run together.
    `pre` and `post` name hooks as "module:function". Any setting, such as `home`, may be given too.

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
    said = {key: str(more.pop(key)) for key in ("pre", "post", "licence", "description") if key in more}
    options = PackOptions(sample=sample, labels=labels, trust=trust, padding=padding or {}, **said)
    return pack_and_publish(read_settings(more)[0], source, name, options=options, aliases=aliases)

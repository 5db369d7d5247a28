"""The Python interface of optimising: `aweigh.optimize`."""

from collections.abc import Sequence
from typing import Final

from aweigh.app.optimize import OptimizeOptions, optimize_package
from aweigh.core.settings import read_settings
from aweigh.optimization.report import Optimization

_MORE: Final = ("device", "batch", "source", "factory", "train", "student")


def optimize(
    model: str,
    data: object = None,
    *,
    labels: object = None,
    keep: str = "",
    goal: str = "cpu",
    seconds: float = 600.0,
    passes: Sequence[str] = (),
    without: Sequence[str] = (),
    publish: bool = True,
    **more: object,
) -> Optimization:
    """Search for faster and smaller variants of a package within the budget `keep`, and publish those kept as its next version.

    `data` (a DataFrame, arrays or a path) are rows that the model was not trained on, `labels` their right answers. `goal` is "cpu", "latency", "throughput", "size",
    "edge", "mobile" or "gpu". Nothing new is begun after `seconds`, 1 to 604,800. `passes` are tried alone, `without` are not tried. `source`, `factory`, `train` and `student` are
    for passes that begin at the file of the model or train it; `device` and `batch` say what it will run on. Any setting, such as `home`, may be given too.

    Returns what was tried: `.kept`, `.results`, `.summary` in plain words, `.published` (the new version, or "").
    Raises AweighError: ModelNotFound, InvalidInput, InvalidSetting, Unsupported, MissingLibrary.

    >>> found = aweigh.optimize("digits", X_held, labels=y_held, keep="accuracy >= 99%")
    >>> found.published
    'digits:2'
    """
    said = {name: more.pop(name) for name in _MORE if name in more}
    options = OptimizeOptions(
        labels=labels, keep=keep, goal=goal, seconds=seconds, passes=_names(passes), without=_names(without), publish=publish,
        **said,  # type: ignore[arg-type]  # the names above are its fields
    )  # fmt: skip
    return optimize_package(read_settings(more, parameters=[*(optimize.__kwdefaults__ or ()), *_MORE])[0], model, data, options=options)


def _names(given: Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)

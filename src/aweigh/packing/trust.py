"""The verdict on pickles: refused unless a person trusts them. Called in the child before any framework is imported, and by the frameworks."""

from pathlib import Path
from typing import Final

from aweigh.core.errors import NotTrusted
from aweigh.packing.recognise import Recognised

_SHOWN: Final = 8
_USUAL: Final = ("sklearn.", "numpy.", "joblib.", "scipy.")


def check_trust(path: Path, recognised: Recognised, *, trust: bool) -> None:
    """Raise NotTrusted for a pickle that nobody trusts, naming what loading it would import. The names are no verdict: none make it safe."""
    if trust or not recognised.is_pickle:
        return
    names = list(recognised.scan.globals) if recognised.scan else []
    strange = [name for name in names if not name.startswith(_USUAL)] or names
    shown = ", ".join(strange[:_SHOWN]) + (f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else "")
    looks = f"; it would import {shown}" if shown else "; what it would import could not be read"
    raise NotTrusted(
        f"{path.name} is a {recognised.detail}: loading it runs code from the file{looks}",
        hint="pass --trust if you made this file yourself, or save the model with skops or as ONNX",
        format=recognised.format,
    )

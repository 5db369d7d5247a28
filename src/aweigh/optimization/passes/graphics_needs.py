"""What passes for graphics cards cannot do without: a card, and the build of ONNX Runtime that uses it."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from aweigh.core import plugins
from aweigh.core.errors import Unsupported
from aweigh.optimization.graphics import Card, cards
from aweigh.optimization.passing import PassJob

There = Mapping[str, tuple[bool, str]]
"""Execution provider -> whether it is there, and what to install where it is not."""
ONNX = ".onnx"


class Graphics:
    """The cards and execution providers of this machine; asked when a search begins, not before."""

    def cards(self) -> Sequence[Card]:
        """NVIDIA's."""
        return cards()

    def providers(self) -> There:
        """Of the ONNX Runtime that is installed."""
        runtime = plugins.load("runtime", "onnxruntime")
        return cast("Callable[[], There]", runtime.providers)()  # type: ignore[attr-defined]  # a class of a plug-in


def check_graphics(job: PassJob, provider: str, graphics: Graphics) -> Card:
    """The first card. Raises Unsupported with what is missing, the card before the library."""
    found = graphics.cards()
    if not found:
        raise Unsupported("there is no NVIDIA GPU here", hint="search on the machine that is to serve")
    there, install = graphics.providers()[provider]
    if not there:
        raise Unsupported(f"the ONNX Runtime that is installed has no execution provider '{provider}'", hint=install)
    if not job.variant.files or not job.variant.files[0].endswith(ONNX):
        raise Unsupported(f"the files of variant '{job.variant.name}' are not ONNX")
    if "providers" in job.variant.options:
        raise Unsupported(f"the variant runs by '{job.variant.options['providers']}' already")
    return found[0]

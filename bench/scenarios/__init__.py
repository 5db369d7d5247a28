"""One file per kind of request, each with a `prepare(folder) -> Workload`. `SCENARIOS` is the table."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.scenarios import gbdt, image, iris, null, picture, text
from bench.workload import Workload

SCENARIOS: Final[dict[str, Callable[[Path], Workload]]] = {
    "iris": iris.prepare,
    "gbdt": gbdt.prepare,
    "image-json": picture.prepare_json,
    "image-binary": picture.prepare_binary,
    "text": text.prepare,
    "null": null.prepare,
    "image": image.prepare,
}
WITH_PEERS: Final = ("iris", "gbdt", "image-json", "image-binary", "text")
"""What `--peers` compares by default: those with a model that every server can run."""

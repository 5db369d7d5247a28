"""One file per scenario, each with `prepare(folder) -> Workload`. `SCENARIOS` is the table."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.scenarios import image, iris, null
from bench.workload import Workload

SCENARIOS: Final[dict[str, Callable[[Path], Workload]]] = {"iris": iris.prepare, "null": null.prepare, "image": image.prepare}

"""Documents of comparisons on the disk: one JSON file for each run of a scenario. Used by the comparisons with servers and with other optimisers."""

import datetime as dt
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

Kind = TypeVar("Kind")


class Dated(Protocol):
    """What is asked of a document."""

    @property
    def scenario(self) -> str: ...

    @property
    def at(self) -> str:
        """ISO 8601, UTC."""


def write(document: Dated, folder: Path, prefix: str) -> Path:
    """A file of its own; the path."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{prefix}{document.scenario}-{dt.datetime.fromisoformat(document.at):%Y%m%dT%H%M%SZ}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return path


def read(kind: type[Kind], folder: Path, prefix: str, scenario: str) -> list[Kind]:
    """All documents of a scenario, the oldest first."""
    paths = sorted(folder.glob(f"{prefix}{scenario}-[0-9]*.json"))
    return [msgspec.json.decode(path.read_bytes(), type=kind) for path in paths]

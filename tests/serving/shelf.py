"""A repository of models that are functions, for tests of loading: any version of any name, whose loads wait, fail or take memory as the test says."""

import threading
from types import SimpleNamespace
from typing import Any

from tests.serving.kit import model

from aweigh.core.errors import ModelNotFound
from aweigh.core.names import ModelName, Reference
from aweigh.engine.model import LoadedModel

MIB = 1024**2


class Shelf:
    """`known` are its versions; `sizes` what the files of a name take, `failures` what the load of a name raises, `loads` which were begun."""

    def __init__(self, *known: tuple[str, int]) -> None:
        self.known = list(known)
        self.gate = threading.Event()
        self.gate.set()
        self.sizes: dict[str, int] = {}
        self.failures: dict[str, Exception] = {}
        self.labels: dict[str, dict[str, int]] = {}
        self.loads: list[tuple[str, int]] = []
        self.models: list[LoadedModel] = []

    def versions(self) -> list[tuple[str, int]]:
        return list(self.known)

    def aliases(self) -> dict[str, dict[str, int]]:
        return self.labels

    def open(self, name: str, version: int | None) -> Any:
        numbers = [number for known, number in self.known if known == name]
        if not numbers or version not in (None, *numbers):
            raise ModelNotFound(f"there is no model '{name}'")
        number = version or max(numbers)
        fake = SimpleNamespace(name="fake", runtime="null", files=("w",), step=None, evidence=SimpleNamespace(passed=True, figures={}))
        file = SimpleNamespace(path="w", size_bytes=self.sizes.get(name, 0))
        return SimpleNamespace(
            reference=Reference(name=ModelName(name), version=number),
            digest=f"sha256:{name}-{number}",
            manifest=SimpleNamespace(variants=(fake,), files=(file,)),
        )

    def load(self, handle: Any) -> LoadedModel:
        name, number = str(handle.reference.name), int(handle.reference.version)
        self.loads.append((name, number))
        self.gate.wait(10)
        failure = self.failures.get(f"{name}:{number}") or self.failures.get(name)
        if failure is not None:
            raise failure
        self.models.append(model(name=name, version=str(number), digest=handle.digest))
        return self.models[-1]

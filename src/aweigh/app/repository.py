"""The store of the home folder as the place that a running server loads from."""

from aweigh.app.packages import open_store
from aweigh.core.names import Reference, model_name
from aweigh.core.protocols import PackageHandle
from aweigh.core.settings import Settings


class StoreRepository:
    """The store of the home folder as the place to load from."""

    def __init__(self, settings: Settings) -> None:
        self._store = open_store(settings)

    def versions(self) -> list[tuple[str, int]]:
        return [(line.name, line.version) for line in self._store.list()]

    def open(self, name: str, version: int | None) -> PackageHandle:
        return self._store.open(Reference(name=model_name(name), version=version))

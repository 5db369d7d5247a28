"""The store of the home folder as the place that a running server loads from."""

from collections.abc import Mapping

from aweigh.app.packages import open_store
from aweigh.core.names import Reference, model_name
from aweigh.core.protocols import PackageHandle
from aweigh.core.settings import Settings
from aweigh.engine.follower import Shelved


class StoreRepository:
    """The store of the home folder as the place to load from."""

    def __init__(self, settings: Settings) -> None:
        self._store = open_store(settings)

    def versions(self) -> list[tuple[str, int]]:
        return [(line.name, line.version) for line in self._store.list()]

    def aliases(self) -> dict[str, Mapping[str, int]]:
        return {name: shelved.aliases for name, shelved in self.catalogue().items()}

    def catalogue(self) -> dict[str, Shelved]:
        """Every name with its versions and aliases, of one reading of the index."""
        numbers: dict[str, list[int]] = {}
        aliases: dict[str, dict[str, int]] = {}
        for line in self._store.list():
            numbers.setdefault(line.name, []).append(line.version)
            aliases.setdefault(line.name, {}).update(dict.fromkeys(line.aliases, line.version))
        return {name: Shelved(numbers=tuple(known), aliases=aliases[name]) for name, known in numbers.items()}

    def open(self, name: str, version: int | None) -> PackageHandle:
        return self._store.open(Reference(name=model_name(name), version=version))

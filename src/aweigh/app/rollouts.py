"""What outlives a server of its rollouts: a record per name under the home folder, and the store's alias that names the version which is live."""

import logging
from typing import Final

import msgspec

from aweigh.app.packages import open_store
from aweigh.core.alike import gap_between
from aweigh.core.errors import Conflict, InvalidName, ModelNotFound, NotFound
from aweigh.core.names import Reference, alias_name, model_name
from aweigh.core.protocols import PackageHandle
from aweigh.core.rollout import Record
from aweigh.core.settings import Settings
from aweigh.store.files import Files, store_errors

_LOG: Final = logging.getLogger("aweigh.rollout")
_FOLDER: Final = "rollouts"
_SUFFIX: Final = ".json"
_decode = msgspec.json.Decoder(Record).decode


class Rolled:
    """The records and the alias of one home folder. Blocks; every file is complete or not there."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.home_folder / _FOLDER
        self._store = open_store(settings)
        self._alias = alias_name(settings.live_alias)
        self._files = Files()

    def names(self) -> list[str]:
        """Those of models: whatever else somebody has put into the folder is none of this server's."""
        with store_errors(self._folder, "read rollouts"):
            found = [path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}")] if self._folder.is_dir() else []
        return sorted(name for name in found if _is_name(name))

    def read(self, name: str) -> Record:
        """The record of a name; an empty one where there is none, or none that can be read: a rollout can be begun again."""
        path = self._folder / f"{model_name(name)}{_SUFFIX}"
        try:
            with store_errors(self._folder, "read rollouts"):
                return _decode(path.read_bytes()) if path.exists() else Record()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            _LOG.error(
                "the record of a model's rollouts cannot be read: it is begun anew", extra={"path": str(path), "error": str(error)}
            )  # no traceback for a broken file
            return Record()

    def write(self, name: str, record: Record) -> None:
        with store_errors(self._folder, "write rollouts"):
            self._files.make_folder(self._folder)
            self._files.replace(self._folder / f"{model_name(name)}{_SUFFIX}", msgspec.json.format(msgspec.json.encode(record)))

    def newest(self, name: str) -> int:
        return self._store.open(Reference(name=model_name(name))).reference.version or 1

    def live(self, name: str) -> int | None:
        try:
            return self._store.aliases(model_name(name)).get(self._alias)
        except NotFound:
            return None

    def check(self, name: str, stable: int, candidate: int) -> None:
        """Raises Conflict where a version cannot answer what the other does."""
        mine, theirs = (
            self._store.open(Reference(name=model_name(name), version=number)).manifest.signature for number in (stable, candidate)
        )
        if gap := gap_between(mine, theirs):
            raise Conflict(
                f"version {candidate} of '{name}' cannot be tried beside version {stable}: {gap}",
                hint="inputs and outputs must be the same; without canary and shadow it takes over at once",
            )

    def move(self, name: str, number: int) -> None:
        self._store.set_alias(model_name(name), self._alias, number)


def _is_name(text: str) -> bool:
    try:
        model_name(text)
    except InvalidName:
        return False
    return True


def open_live(settings: Settings, reference: Reference) -> PackageHandle:
    """What a server means by a reference: of a bare name the version that is live, where one was made so, else the newest. Raises ModelNotFound."""
    store = open_store(settings)
    if reference.version is None and reference.alias is None:
        try:
            return store.open(Reference(name=reference.name, alias=alias_name(settings.live_alias)))
        except ModelNotFound:
            pass
    return store.open(reference)

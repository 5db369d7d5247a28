"""What was deployed where: one file per deployment, written whole. Read by `aweigh deployments` and `aweigh undeploy`."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from aweigh.core.errors import InvalidFile, NotFound, StoreUnavailable
from aweigh.core.nearest import nearest
from aweigh.core.whole import whole


class Deployment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One deployment, as it was applied last."""

    name: str
    target: str
    model: str
    """`fraud:3`."""
    digest: str
    folder: str
    applied_at: str
    """UTC, ISO 8601, whole seconds."""
    image: str = ""
    address: str = ""
    facts: dict[str, str] = {}
    """What the target needs to take it away again."""
    unfinished: bool = False
    """Whether applying it began and did not end: a part of it may be there."""


class Deployments:
    """The records in a folder, which is made when something is deployed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> list[Deployment]:
        """By name and target. Raises InvalidFile."""
        return [self._read(path) for path in sorted(self._folder.glob("*.json"))]

    def find(self, name: str, target: str = "") -> Deployment:
        """The one of that name. Raises NotFound with the nearest name, or where the name stands on several targets and none was said."""
        known = self.all()
        found = [each for each in known if each.name == name and target in {"", each.target}]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotFound(f"{name!r} is deployed to {', '.join(each.target for each in found)}", hint="say which with --to")
        where = f" to {target}" if target else ""
        raise NotFound(f"nothing named {name!r} was deployed{where}", hint=_meant(name, known))

    def get(self, name: str, target: str) -> Deployment | None:
        """The one of that name on that target. Raises InvalidFile."""
        path = self._folder / f"{target}--{name}.json"
        return self._read(path) if path.exists() else None

    def keep(self, deployment: Deployment) -> None:
        """Write the record, in place of an earlier one of that name and target. Raises StoreUnavailable."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with whole(self._path(deployment), durable=True) as stream:
                stream.write(msgspec.json.format(msgspec.json.encode(deployment), indent=2) + b"\n")
        except OSError as error:
            raise StoreUnavailable(
                f"{self._folder} cannot be written: {error.strerror}", hint="check the folder and the space left"
            ) from error

    def forget(self, deployment: Deployment) -> None:
        """Remove the record."""
        self._path(deployment).unlink(missing_ok=True)

    def _path(self, deployment: Deployment) -> Path:
        return self._folder / f"{deployment.target}--{deployment.name}.json"

    def _read(self, path: Path) -> Deployment:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Deployment)
        except (OSError, msgspec.DecodeError) as error:
            raise InvalidFile(f"{path} cannot be read: {error}", hint="move it away: nothing else needs it") from error


def _meant(name: str, known: Sequence[Deployment]) -> str:
    """Where what has this name stands, else the nearest name."""
    places = [each.target for each in known if each.name == name]
    if places:
        return f"it stands on {', '.join(places)}: say --to {places[0]}"
    near = nearest(name, [each.name for each in known])
    return f"did you mean {near!r}?" if near else "`aweigh deployments` lists what was"

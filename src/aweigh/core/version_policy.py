"""Which of a model's stored versions are to be served: the one reading of `latest:2; fraud=specific:1,3`. Used by whoever serves from a store."""

from collections.abc import Collection
from typing import Final, Literal

import msgspec

from aweigh.core.errors import InvalidName, InvalidSetting
from aweigh.core.names import ModelName, model_name

MAX_VERSIONS: Final = 1000
_EXAMPLE: Final = "write 'latest:1', 'latest:3', 'all' or 'specific:1,3'; for one name 'fraud=specific:1,3', after a ';'"
_MAX_TEXT: Final = 80


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of one name: the `count` latest, all, or those in `numbers`."""

    kind: Literal["latest", "all", "specific"] = "latest"
    count: int = 1
    numbers: tuple[int, ...] = ()

    def of(self, stored: Collection[int], live: int | None = None) -> tuple[int, ...]:
        """Those of the stored versions that are to be served, what a bare name means last: `live`, else the highest.

        `live` counts as the latest, whatever its number: a version that was published after it waits to be promoted.
        """
        known = sorted(stored)
        if live in known:
            known = [number for number in known if number != live] + [live]
        if self.kind == "specific":
            return tuple(number for number in known if number in self.numbers)
        if self.kind == "all":
            return tuple(known)
        return tuple(known[-self.count :])


class VersionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What is served of every name, and of the names that have a word of their own."""

    every: Selection = Selection()
    names: dict[ModelName, Selection] = {}

    def of(self, name: str) -> Selection:
        return self.names.get(ModelName(name), self.every)


def parse_version_policy(text: str) -> VersionPolicy:
    """Read `latest:1`, `all; fraud=specific:1,3; churn=latest:2` and the like. Raises InvalidSetting, which says what is wrong with the text."""
    every: list[Selection] = []
    names: dict[ModelName, Selection] = {}
    for part in (part.strip() for part in text.split(";")):
        name, equals, said = part.rpartition("=")
        if equals:
            known = _name(name.strip(), part)
            if known in names:
                raise InvalidSetting(f"version_policy says twice what is served of '{known}'", hint="once each")
            names[known] = _selection(said.strip(), part)
        elif part:
            every.append(_selection(part, part))
    if len(every) > 1:
        raise InvalidSetting(f"version_policy {text[:_MAX_TEXT]!r} says twice what is served of every name", hint=_EXAMPLE)
    return VersionPolicy(every=every[0] if every else Selection(), names=names)


def _name(text: str, part: str) -> ModelName:
    try:
        return model_name(text)
    except InvalidName as error:
        raise InvalidSetting(f"{part[:_MAX_TEXT]!r} in version_policy: {error.message}", hint=_EXAMPLE) from None


def _selection(text: str, part: str) -> Selection:
    kind, colon, rest = text.partition(":")
    numbers = [word.strip() for word in rest.split(",")] if colon else []
    right = all(word.isascii() and word.isdigit() and 0 < int(word[:10]) < 10**9 for word in numbers) and len(numbers) <= MAX_VERSIONS
    if kind == "all" and not colon:
        return Selection(kind="all")
    if kind == "latest" and not colon:
        return Selection()
    if kind == "latest" and right and len(numbers) == 1 and int(numbers[0]) <= MAX_VERSIONS:
        return Selection(count=int(numbers[0]))
    if kind == "specific" and right and numbers:
        return Selection(kind="specific", numbers=tuple(sorted({int(word) for word in numbers})))
    raise InvalidSetting(f"{part[:_MAX_TEXT]!r} is not a version policy", hint=_EXAMPLE)

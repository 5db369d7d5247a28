"""`index.json`: which versions and aliases there are. One file, replaced as a whole under the lock, so every change of names is atomic.

A version is a descriptor named `fraud:3`, an alias one named `fraud@champion` with the same digest, so that any OCI tool reads both. The
highest version ever given to a name is an annotation of the index: a removed number never comes back. Pure; used by `store`.
"""

import dataclasses
from collections.abc import Iterable
from typing import Final

import msgspec

from aweigh.core.errors import AweighError, InvalidFile, Unsupported
from aweigh.core.names import Alias, Digest, ModelName, Reference, parse_reference
from aweigh.core.oci import INDEX_TYPE, REF_NAME, Descriptor, encode

INDEX_FILE: Final = "index.json"
PREVIOUS_FILE: Final = "index.previous.json"
LAYOUT_FILE: Final = "oci-layout"
PACKED_AT: Final = "vnd.aweigh.packed-at"
RUNTIME: Final = "vnd.aweigh.runtime"
TASK: Final = "vnd.aweigh.task"
VERDICT: Final = "vnd.aweigh.verdict"
SIZE: Final = "vnd.aweigh.size-bytes"
ORIGIN: Final = "vnd.aweigh.origin"
PARTS: Final = "vnd.aweigh.parts"
"""Digests of the packages that a pipeline needs, separated by commas."""
UNTRIED: Final = "vnd.aweigh.untried"
"""Names of the variants of a package from elsewhere that were not tried in a child, separated by commas."""
_TARGET: Final = "vnd.aweigh.version"
_LAST_VERSION: Final = "vnd.aweigh.last-version."
LAYOUT_VERSION: Final = "1.0.0"
MAX_TAKEN_OVER: Final = 999_999


class _Layout(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    image_layout_version: str


class _IndexFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    schema_version: int
    manifests: tuple[Descriptor, ...]
    media_type: str = ""
    annotations: dict[str, str] = {}


_DECODER: Final = msgspec.json.Decoder(_IndexFile)
_LAYOUT_DECODER: Final = msgspec.json.Decoder(_Layout)
LAYOUT_BYTES: Final = encode(_Layout(image_layout_version=LAYOUT_VERSION))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What the index says; changes give a new one. `strangers` are entries of other tools, kept as they are."""

    versions: dict[ModelName, dict[int, Descriptor]]
    names: dict[ModelName, dict[Alias, int]]
    """Aliases of each model."""
    last: dict[ModelName, int]
    strangers: tuple[Descriptor, ...] = ()
    annotations: dict[str, str] = dataclasses.field(default_factory=dict)

    def next_version(self, name: ModelName) -> int:
        """The number that the next version of `name` gets: above every number it ever had."""
        return max(self.last.get(name, 0), *self.versions.get(name, {}), 0) + 1

    def version_for(self, name: ModelName, wanted: int) -> int:
        """The number of a package from elsewhere: the one it had there where that is above every number used here, else the next.

        A number far beyond need is not taken over: a stranger must not use up the numbers of a name.
        """
        following = self.next_version(name)
        return wanted if following <= wanted <= MAX_TAKEN_OVER else following

    def version_of(self, name: ModelName, digest: Digest) -> int | None:
        """The newest version of `name` with that digest, or None."""
        return max((number for number, mine in self.versions.get(name, {}).items() if mine.digest == digest), default=None)

    def with_version(self, name: ModelName, version: int, descriptor: Descriptor) -> "Index":
        mine = {**self.versions.get(name, {}), version: descriptor}
        return dataclasses.replace(
            self, versions={**self.versions, name: mine}, last={**self.last, name: max(version, self.last.get(name, 0))}
        )

    def without_version(self, name: ModelName, version: int) -> "Index":
        """Without the version and the aliases that name it."""
        mine = {number: descriptor for number, descriptor in self.versions[name].items() if number != version}
        aliases = {alias: number for alias, number in self.names.get(name, {}).items() if number != version}
        last = {**self.last, name: max(self.last.get(name, 0), version)}
        return dataclasses.replace(self, versions={**self.versions, name: mine}, names={**self.names, name: aliases}, last=last)

    def with_aliases(self, name: ModelName, aliases: dict[Alias, int]) -> "Index":
        return dataclasses.replace(self, names={**self.names, name: aliases})

    def descriptors(self) -> Iterable[Descriptor]:
        """Every entry that keeps blobs alive."""
        yield from self.strangers
        for mine in self.versions.values():
            yield from mine.values()


EMPTY: Final = Index(versions={}, names={}, last={})


def decode_index(data: bytes, *, place: str) -> Index:
    """Read index.json. Raises InvalidFile, with the place, for anything malformed."""
    try:
        file = _DECODER.decode(data)
        last = {key.removeprefix(_LAST_VERSION): int(value) for key, value in file.annotations.items() if key.startswith(_LAST_VERSION)}
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidFile(
            f"{place}: not an OCI index: {error}",
            hint="the packages themselves are not lost: put the copy 'index.previous.json' beside it in its place",
        ) from error
    versions: dict[ModelName, dict[int, Descriptor]] = {}
    pending: list[tuple[Reference, Descriptor]] = []
    strangers: list[Descriptor] = []
    for descriptor in file.manifests:
        reference = _reference(descriptor)
        if reference is None or (reference.version is None and reference.alias is None):
            strangers.append(descriptor)
        elif reference.version is not None:
            versions.setdefault(reference.name, {})[reference.version] = descriptor
        else:
            pending.append((reference, descriptor))
    return Index(
        versions=versions,
        names=_aliases(versions, pending),
        last={ModelName(name): number for name, number in last.items()},
        strangers=tuple(strangers),
        annotations={key: value for key, value in file.annotations.items() if not key.startswith(_LAST_VERSION)},
    )


def encode_index(index: Index) -> bytes:
    """The bytes of index.json, names in order."""
    entries: list[Descriptor] = []
    for name in sorted(index.versions):
        mine = index.versions[name]
        entries += (_named(mine[number], f"{name}:{number}") for number in sorted(mine))
        entries += (_named(mine[number], f"{name}@{alias}", target=number) for alias, number in sorted(index.names.get(name, {}).items()))
    last = {f"{_LAST_VERSION}{name}": str(number) for name, number in index.last.items()}
    return encode(
        _IndexFile(
            schema_version=2, media_type=INDEX_TYPE, manifests=(*entries, *index.strangers), annotations={**index.annotations, **last}
        )
    )


def unused_names(data: bytes) -> list[str]:
    """The names of an index that `decode_index` drops: aliases of no version."""
    index = decode_index(data, place=INDEX_FILE)
    named = [_reference(descriptor) for descriptor in _DECODER.decode(data).manifests]
    return [str(each) for each in named if each and each.alias is not None and each.alias not in index.names.get(each.name, {})]


def check_layout(data: bytes, *, place: str) -> None:
    """Raise Unsupported or InvalidFile unless `oci-layout` is of the version that this store reads."""
    try:
        version = _LAYOUT_DECODER.decode(data).image_layout_version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidFile(f"{place}: not an OCI layout file: {error}", hint=f"it should read {LAYOUT_BYTES.decode()}") from error
    if version != LAYOUT_VERSION:
        raise Unsupported(f"{place}: OCI image layout {version!r}, this aweigh reads {LAYOUT_VERSION}", hint="upgrade aweigh")


def _named(descriptor: Descriptor, name: str, *, target: int | None = None) -> Descriptor:
    annotations = {**descriptor.annotations, REF_NAME: name}
    if target is not None:
        annotations[_TARGET] = str(target)
    return msgspec.structs.replace(descriptor, annotations=annotations)


def _reference(descriptor: Descriptor) -> Reference | None:
    try:
        return parse_reference(descriptor.annotations.get(REF_NAME, ""))
    except AweighError:
        return None


def _aliases(
    versions: dict[ModelName, dict[int, Descriptor]], pending: Iterable[tuple[Reference, Descriptor]]
) -> dict[ModelName, dict[Alias, int]]:
    names: dict[ModelName, dict[Alias, int]] = {}
    for reference, descriptor in pending:
        mine = versions.get(reference.name, {})
        written = descriptor.annotations.get(_TARGET, "")
        target = int(written) if written.isascii() and written.isdigit() else 0
        if target not in mine:  # written by another tool: the digest says which version is meant
            target = max((number for number, other in mine.items() if other.digest == descriptor.digest), default=0)
        if target and reference.alias is not None:
            names.setdefault(reference.name, {})[reference.alias] = target
    return names

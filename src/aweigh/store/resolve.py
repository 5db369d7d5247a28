"""From what a person names to a version that is there, or the error that says what is there instead. Pure; used by `store`."""

from collections.abc import Iterable

from aweigh.core.errors import InvalidInput, ModelNotFound
from aweigh.core.names import ModelName, Reference
from aweigh.core.nearest import nearest
from aweigh.store.index import Index

_SHOWN = 10


def resolve(index: Index, reference: Reference) -> int:
    """The version that is meant: the one named, the alias's, or the newest. Raises ModelNotFound, naming what there is."""
    versions = known_versions(index, reference.name)
    if reference.version is not None:
        if reference.version not in versions:
            raise ModelNotFound(
                f"there is no version {reference.version} of '{reference.name}'",
                hint=f"'{reference.name}' has {_listed('version', versions)}",
                model=reference,
            )
        return reference.version
    if reference.alias is not None:
        aliases = index.names.get(reference.name, {})
        if reference.alias not in aliases:
            known = ", ".join(f"'{reference.name}@{alias}'" for alias in sorted(aliases))
            raise ModelNotFound(
                f"'{reference.name}' has no alias '{reference.alias}'",
                hint=f"there is {known}" if known else f"'{reference.name}' has no aliases; it has {_listed('version', versions)}",
                model=reference,
            )
        return aliases[reference.alias]
    return versions[-1]


def known_versions(index: Index, name: ModelName) -> list[int]:
    """The versions of a model in order, at least one. Raises ModelNotFound with the nearest name."""
    versions = sorted(index.versions.get(name, {}))
    if not versions:
        names = [known for known, mine in index.versions.items() if mine]
        near = nearest(name, names)
        if near:
            hint = f"did you mean '{near}'? 'aweigh models' lists all"
        elif names:
            hint = "'aweigh models' lists what there is"
        else:
            hint = f"the store is empty: 'aweigh pack FILE --name {name}' fills it"
        raise ModelNotFound(f"there is no model '{name}'", hint=hint, model=name)
    return versions


def one_version(index: Index, reference: Reference) -> int:
    """As `resolve`, but a bare name must have one version only: for what cannot be undone. Raises InvalidInput otherwise."""
    versions = known_versions(index, reference.name)
    if reference.version is None and reference.alias is None and len(versions) > 1:
        raise InvalidInput(
            f"'{reference.name}' has {_listed('version', versions)}: say which one", hint=f"for example '{reference.name}:{versions[0]}'"
        )
    return resolve(index, reference)


def _listed(word: str, numbers: Iterable[int]) -> str:
    shown = [str(number) for number in numbers]
    if len(shown) > _SHOWN:
        shown = [f"{len(shown)} of them, the newest", *shown[-_SHOWN:]]
        return f"{word}s, {shown[0]} {', '.join(shown[1:])}"
    return f"{word}{'s' if len(shown) > 1 else ''} {', '.join(shown)}"

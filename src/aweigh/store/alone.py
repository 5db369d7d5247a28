"""A store that holds one package alone, and of it only what chosen variants need: as files for somebody to write elsewhere. Used by `app`; writes nothing.

It is whole to whoever reads it, though nobody may write there: the views are in it too, as second names of the blobs.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.oci import Descriptor
from aweigh.core.package import Variant
from aweigh.store.index import EMPTY, INDEX_FILE, LAYOUT_BYTES, LAYOUT_FILE, ORIGIN, Index, encode_index
from aweigh.store.oci import FILE_PATH, PACKAGE_TYPE
from aweigh.store.package import StoredPackage

_STORE: Final = "store"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """Files by path below the home folder; `links` are second names of some of them."""

    files: Mapping[str, bytes | Path]
    links: Mapping[str, str]


def alone(package: StoredPackage, variants: Sequence[Variant]) -> Alone:
    """The package, with the files of these variants, the golden cases and hooks; of the packages that it needs, everything. Raises InvalidFile."""
    files: dict[str, bytes | Path] = {}
    links: dict[str, str] = {}
    wanted = {path for variant in variants for path in variant.files} | {case.file for case in package.manifest.cases}
    index = _add(package, EMPTY, wanted | set(package.manifest.hooks.files), files, links)
    pending = list(package.manifest.parts)
    seen = {package.digest}
    while pending:
        part = package.part(pending.pop())
        if part.digest not in seen:
            seen.add(part.digest)
            index = _add(part, index, {file.path for file in part.manifest.files}, files, links)
            pending += part.manifest.parts
    files[f"{_STORE}/{LAYOUT_FILE}"] = LAYOUT_BYTES
    files[f"{_STORE}/{INDEX_FILE}"] = encode_index(index)
    return Alone(files=files, links=links)


def _add(package: StoredPackage, index: Index, wanted: set[str], files: dict[str, bytes | Path], links: dict[str, str]) -> Index:
    """Add a package's documents and wanted files; the index that names it too."""
    oci = package.oci
    for descriptor in (package.descriptor, oci.config, *oci.layers):
        path = descriptor.annotations.get(FILE_PATH, "") if descriptor is not package.descriptor else ""
        if path in wanted or not path or descriptor.media_type == PACKAGE_TYPE:
            blob = package.blobs.verify(descriptor.digest, descriptor.size, place=path or "document")
            files[_blob(descriptor)] = blob
        if path in wanted:
            links[f"{_STORE}/views/{package.digest.removeprefix('sha256:')}/{path}"] = _blob(descriptor)
    told = {
        key: value for key, value in package.descriptor.annotations.items() if key != ORIGIN
    }  # where it came from is nobody's business there
    reference = package.reference
    return index.with_version(reference.name, reference.version or 1, msgspec.structs.replace(package.descriptor, annotations=told))


def _blob(descriptor: Descriptor) -> str:
    return f"{_STORE}/blobs/sha256/{descriptor.digest.removeprefix('sha256:')}"

"""What the results of a search hang on, as digests: whoever finds the same ones takes what an earlier search found. Part of `app/optimize.py`."""

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

import aweigh
from aweigh.app.optimize_data import Data
from aweigh.core.machine import machine
from aweigh.core.plugins import plugins
from aweigh.core.protocols import PackageHandle
from aweigh.core.versions import of_libraries


def search_key(handle: PackageHandle, data: Data, device: str) -> str:
    """Of what all candidates of a search have in common: what the package's variants take and are held to, the rows, the machine with the libraries that run models, and who looks.
    Not of its variants, which the candidates' own keys hold: the version that a search publishes has further ones, and the next search goes on from there."""
    libraries = of_libraries(sorted({library for row in plugins("runtime") for library in row.libraries}))
    manifest = handle.manifest
    digests = {file.path: file.digest for file in manifest.files}
    golden = [(case, digests[case.file]) for case in manifest.golden]
    package = [manifest.session_signature, golden, manifest.hooks]
    told = hashlib.sha256(
        msgspec.json.encode([package, aweigh.__version__, machine(), data.source, data.strength, device, libraries], order="sorted")
    )
    for name, tensor in sorted(data.tensors.items()):
        told.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        told.update(repr(tensor.tolist()).encode() if tensor.dtype.kind == "O" else np.ascontiguousarray(tensor).data)
    told.update(
        repr(None if data.right is None else list(data.right)).encode()
    )  # as a list: the text of a long array leaves out its middle
    return told.hexdigest()[:32]


def training_key(folder: Path, source: str, named: Sequence[str]) -> str:
    """Of a source, a file or a folder, and of the code that `named` ("module:function" or "") are found in: all modules of `folder` and of the packages in it, because
    one imports another. What the code reads while it trains is not seen."""
    told = hashlib.sha256(msgspec.json.encode([source, *named]))
    modules = [each.partition(":")[0] for each in named if each]
    code = {str(file.relative_to(folder)): file for file in (_code(folder, modules) if modules else ())}
    files = {str(file): file for file in (_files(Path(source)) if source else ())}
    for name, file in sorted({**code, **files}.items()):
        with contextlib.suppress(OSError), file.open("rb") as stream:
            told.update(f"{name} {hashlib.file_digest(stream, 'sha256').hexdigest()}".encode())
    return told.hexdigest()


def _code(folder: Path, modules: Sequence[str]) -> set[Path]:
    """The modules of the folder, of the packages in it, and of the folders on the way to the named ones."""
    ways = [module.split(".") for module in modules]
    places = [folder, *(folder.joinpath(*way[:count]) for way in ways for count in range(1, len(way) + 1))]
    seen, found = set(), set[Path]()
    while places:
        place = places.pop()
        if place.resolve() not in seen:
            seen.add(place.resolve())
            found.update(place.glob("*.py"))
            places += [each.parent for each in place.glob("*/__init__.py")]
    return found


def _files(source: Path) -> list[Path]:
    """A file, or all files of a folder."""
    return [file for file in source.rglob("*") if file.is_file()] if source.is_dir() else [source]

"""The verdict on Keras files, before Keras is imported: every class that the configuration names is one that runs no code of the file's and reads no other file.

Called through `core/plugins.py` (kind "judge"): before an environment is made, where HDF5 may not be readable and the configuration alone is judged, and
in the packing child, which has h5py. Reads the zip, the JSON and the HDF5 tree; deserialises nothing.
"""

import itertools
import json
import mmap
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final

try:
    import h5py
except ImportError:  # not in the base install; the child that loads the model has it
    h5py = None

from aweigh.core.errors import InvalidFile, NotTrusted
from aweigh.packing.frameworks.keras_config import MAX_CONFIG_BYTES, MAX_DEPTH, judge_config, parse
from aweigh.packing.recognise import UNREADABLE_ZIP

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_ASSETS: Final = "assets/"
_TRIED: Final = 20
_BEGINS: Final = re.compile(rb'\{\s*"(?:module|class_name|name|config)"\s*:')


def judge(path: Path, *, trust: bool) -> None:
    """Raise NotTrusted for what Keras would run or read on loading, InvalidFile for what is no Keras model."""
    if path.is_dir():
        _judge_folder(path, trust=trust)
    elif not _is_hdf5(path):
        _judge_archive(path, trust=trust)
    elif _is_archive(path):
        raise InvalidFile(
            f"{path.name}: an HDF5 file that is a zip archive as well", hint="save the model again: Keras writes the one or the other"
        )
    elif h5py is None:
        for config in _configurations_in(path):
            judge_config(path, config, trust=trust)
    else:
        with _tree(path, path) as tree:
            _judge_tree(path, tree)
            config = tree.attrs.get("model_config")
            if config is None:
                raise InvalidFile(
                    f"{path.name}: an HDF5 file without a model's configuration: it holds weights alone, or no Keras model",
                    hint=f"save the whole model, or put {CONFIG} (model.to_json()) and {WEIGHTS} into one folder and pack that",
                )
            judge_config(path, parse(path, config), trust=trust)


def _is_hdf5(path: Path) -> bool:
    """By its first bytes, as `recognise` and with it the name that Keras goes by: an archive may hang behind them."""
    with path.open("rb") as file:
        return file.read(len(_HDF5)) == _HDF5


def _is_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.namelist())
    except UNREADABLE_ZIP:
        return False


def _judge_folder(path: Path, *, trust: bool) -> None:
    for each in path.rglob("*"):
        if each.is_symlink() or not (each.is_file() or each.is_dir()):
            raise InvalidFile(
                f"{path.name}: {each.relative_to(path)} is no file of its own", hint="copy the folder with its files (cp -rL)"
            )
    with (path / CONFIG).open("rb") as file:
        judge_config(path, parse(path, file.read(MAX_CONFIG_BYTES + 1)), trust=trust)
    with _tree(path, path / WEIGHTS) as tree:
        _judge_tree(path, tree)


def _configurations_in(path: Path) -> Iterator[Any]:
    """What reads as a model's configuration in the bytes of an HDF5 file, which keeps it as it is written."""
    decoder = json.JSONDecoder()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for begin in itertools.islice(_BEGINS.finditer(data), _TRIED):
            try:
                found, _ = decoder.raw_decode(data[begin.start() : begin.start() + MAX_CONFIG_BYTES].decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict) and {"class_name", "config"} <= set(found):
                yield found
                return


def _judge_archive(path: Path, *, trust: bool) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                parts = PurePosixPath(name).parts
                if name not in {CONFIG, WEIGHTS, METADATA} and (not name.startswith(_ASSETS) or ".." in parts or "\\" in name):
                    raise InvalidFile(f"{path.name}: the archive holds {name[:200]!r}, which is no part of a Keras model")
            if archive.getinfo(CONFIG).file_size > MAX_CONFIG_BYTES:
                raise InvalidFile(f"{path.name}: {CONFIG} has {archive.getinfo(CONFIG).file_size} bytes, {MAX_CONFIG_BYTES} are the most")
            judge_config(path, parse(path, archive.read(CONFIG)), trust=trust)
            with archive.open(WEIGHTS) as weights, _tree(path, weights) as tree:
                _judge_tree(path, tree)
    except (KeyError, *UNREADABLE_ZIP) as error:
        raise InvalidFile(f"{path.name}: not a whole Keras archive: {error}", hint="copy or save the file again") from error


@contextmanager
def _tree(path: Path, file: Any) -> Iterator[Any]:
    """The tree of an HDF5 file; an empty one where it cannot be read here. Raises InvalidFile for what is damaged, also where that shows only inside."""
    if h5py is None:
        yield {}
        return
    try:
        with h5py.File(file, "r") as tree:
            yield tree
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise InvalidFile(f"{path.name}: its weights are no readable HDF5: {error}", hint="copy or save the file again") from error


def _judge_tree(path: Path, group: Any, depth: int = 0) -> None:
    """HDF5 can point at other files: a weight that does would be read from there."""
    if depth > MAX_DEPTH:
        raise InvalidFile(f"{path.name}: its weights are nested more than {MAX_DEPTH} deep")
    for name in group:
        link = group.get(name, getlink=True)
        place = f"{group.name.rstrip('/')}/{name}"
        if not isinstance(link, h5py.HardLink):
            raise NotTrusted(f"{path.name}: {place} is a link to elsewhere", hint="save the model again: Keras writes none")
        item = group[name]
        if isinstance(item, h5py.Group):
            _judge_tree(path, item, depth + 1)
        elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise NotTrusted(f"{path.name}: {place} is kept in another file", hint="save the model again: Keras keeps weights in the file")

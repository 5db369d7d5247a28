"""The verdict on a PyTorch file before torch is imported, and before an environment that has it is made: by the archive's table, its texts and the opcodes of its pickles.

Called by `choose.judge`. It only refuses: what passes is judged again by what loads it, through torch's own reader.
"""

import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Final

from aweigh.core.errors import InvalidFile, NotTrusted
from aweigh.packing.recognise import UNREADABLE_ZIP, recognise
from aweigh.runtimes.torch_judge import globals_of, judge_exported, judge_script

_SHOWN: Final = 8
_MAX_MEMBER: Final = 512 * 1024 * 1024
_USUAL: Final = ("torch.", "collections.", "numpy.", "__builtin__.", "builtins.")
_LEGACY_PICKLES: Final = 5
"""Of a file of before torch 1.6: a magic number, a version, the machine, the object, the names of its storages; then bare numbers."""
_SAMPLE: Final = "data/sample_inputs/model.pt"
_WEIGHTS: Final = re.compile(
    r"collections\.(OrderedDict|Counter)|torch\.(Size|Tensor|device|\w+Storage|\w+Tensor|[a-z]+\d\w*|bool|half|float|double|short|int|long|per_\w+)"
    r"|torch\.storage\.\w+Storage|torch\.(cuda|sparse)\.\w+|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout"
    r"|torch\._utils\._rebuild\w+|torch\._tensor\._rebuild_from_type_v2|_codecs\.encode|(__builtin__|builtins)\.(bytearray|set|complex)"
)
"""What torch.load builds tensors from when it is told to load weights alone."""


def judge(path: Path, *, trust: bool) -> None:
    """Raise NotTrusted that names what loading would import, call or evaluate; InvalidFile for a damaged archive. Trust opens files of torch.save alone."""
    found = recognise(path).format
    if found == "safetensors" or (found == "torch" and trust):
        return
    with path.open("rb") as file:
        if file.read(2) != b"PK":  # as torch tells them apart: a pickle may end in an archive
            file.seek(0)
            _judge_stream(path, file)
            return
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE_ZIP as error:
        raise InvalidFile(f"{path.name}: a damaged or truncated archive: {error}", hint="copy or save the file again") from error
    with archive:
        _judge_archive(path, archive, found)


def _judge_archive(path: Path, archive: zipfile.ZipFile, found: str) -> None:
    places = {name.partition("/")[2]: name for name in archive.namelist()}

    def read(member: str) -> bytes:
        info = archive.getinfo(places[member])
        if info.file_size > _MAX_MEMBER:
            raise InvalidFile(f"{path.name}: {member} is {info.file_size} bytes", hint="no program or table of weights is that long")
        try:
            return archive.read(info)
        except UNREADABLE_ZIP as error:
            raise InvalidFile(f"{path.name}: {member} cannot be read: {error}", hint="copy or save the file again") from error

    if found == "torch":
        _judge_pickles(path, (read(member) for member in places if member.rpartition("/")[2] == "data.pkl"))
    elif found == "torchscript":
        judge_script(list(places), read)
    else:
        judge_exported(list(places), read)
        if _SAMPLE in places:
            _judge_sample(path, read(_SAMPLE))


def _judge_sample(path: Path, data: bytes) -> None:
    """The inputs that a program was exported with: a file of torch.save inside the file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _judge_pickles(path, (archive.read(name) for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"))
    except UNREADABLE_ZIP as error:
        raise InvalidFile(f"{path.name}: {_SAMPLE} cannot be read: {error}", hint="save the program again") from error


def _judge_stream(path: Path, file: IO[bytes]) -> None:
    """Pickles one after the other, as torch wrote them before 1.6."""
    for _ in range(_LEGACY_PICKLES):
        names = globals_of(file)
        if names is None or not all(map(_WEIGHTS.fullmatch, names)):
            raise not_trusted(path, names or ())


def _judge_pickles(path: Path, pickles: Iterable[bytes]) -> None:
    for data in pickles:
        names = globals_of(data)
        if names is None or not all(map(_WEIGHTS.fullmatch, names)):
            raise not_trusted(path, names or ())


def not_trusted(path: Path, names: Sequence[str]) -> NotTrusted:
    """The error for a pickle that would import `names`."""
    strange = list(dict.fromkeys(name for name in names if not name.startswith(_USUAL))) or list(dict.fromkeys(names))
    shown = ", ".join(strange[:_SHOWN]) + (f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else "")
    return NotTrusted(
        f"{path.name} is a PyTorch pickle of more than tensors: loading it runs code from the file; "
        f"it would import {shown or 'what could not be read'}",
        hint="save module.state_dict() and give --class module:factory, or torch.export.save; --trust if you made this file yourself",
        format="torch",
    )

"""What KServe mounts: MLServer's `model-settings.json` with the model it names, or TorchServe's `model-store`. Other storage is a plain folder."""

from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import InvalidFile, UnknownFormat
from aweigh.packing.layouts.inside import Inside, Stated, StatedTensor, has, names, read_text, the_known_file, within
from aweigh.packing.layouts.torchserve import open_torchserve

_SETTINGS: Final = "model-settings.json"
_STORE: Final = "model-store"


class _Tensor(msgspec.Struct, frozen=True):
    name: str
    datatype: str = ""
    shape: tuple[int, ...] | None = None


class _Parameters(msgspec.Struct, frozen=True):
    uri: str = ""


class _Settings(msgspec.Struct, frozen=True):
    implementation: str = ""
    parameters: _Parameters = _Parameters()
    inputs: tuple[_Tensor, ...] = ()


def open_kserve(root: Path, work: Path, *, trust: bool) -> Inside | None:
    """The model of a KServe storage folder, or None."""
    if has(root, _SETTINGS):
        return _of_mlserver(root)
    if not (root / _STORE).is_dir() or (root / _STORE).is_symlink():
        return None
    archives = [name for name in names(root / _STORE) if name.endswith(".mar")]
    if len(archives) != 1:
        raise UnknownFormat(f"{root}: a model-store with {len(archives)} archives: {', '.join(archives[:8])}", hint="give one of them")
    found = open_torchserve(within(root / _STORE, archives[0], said_by=str(root)), work, trust=trust)
    if found is None:
        raise InvalidFile(f"{root / _STORE / archives[0]}: no TorchServe archive", hint="copy it again")
    return Inside(layout=f"KServe storage, {found.layout}", file=found.file)


def _of_mlserver(root: Path) -> Inside:
    place = str(root / _SETTINGS)
    try:
        said = msgspec.json.decode(read_text(root, _SETTINGS), type=_Settings)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidFile(f"{place}: no settings of MLServer: {error}", hint="the folder is damaged") from error
    uri = said.parameters.uri
    file = within(root, uri, said_by=place) if uri and uri not in {".", "./"} else the_known_file(root, layout="an MLServer model")
    if file.is_dir() and not has(file, "MLmodel") and not has(file, "config.json"):
        file = the_known_file(file, layout="an MLServer model")
    stated = tuple(StatedTensor(dims=tensor.shape[1:] if tensor.shape else None) for tensor in said.inputs)
    kind = said.implementation.rpartition(".")[2][:100] or "no implementation"
    return Inside(
        layout=f"MLServer model ({kind}): {file.relative_to(root).as_posix()}",
        file=file,
        stated=Stated(place=_SETTINGS, inputs=stated, batched=True),
    )

"""Says what a file is by its content: never by its name, never by importing or loading it. Called first by `pack` and `serve FILE`.

`recognise` returns only formats that aweigh takes; any other known format is named in the refusal, with the way to ONNX. It must stay harmless on hostile bytes: it reads headers and lengths, bounded, and runs nothing.
"""

import dataclasses
import lzma
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Final

from aweigh.core.errors import FileMissing, InvalidFile, UnknownFormat
from aweigh.packing import jax_bytes, onnx_wire
from aweigh.packing.pickles import SCAN_BYTES, PickleScan, compression_of, decompressed_head, scan_pickle

_HEAD: Final = 4096
LFS_MARK: Final = "Git LFS pointer"
UNREADABLE_ZIP: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, ValueError, NotImplementedError, EOFError, RuntimeError,
)  # fmt: skip
"""What reading a damaged archive, or one of its members, raises."""
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_MAX_ZIP_ENTRIES: Final = 200_000
_TO_ONNX: Final = "convert it to ONNX with {tool} and pack the .onnx file"
_OLD_XGBOOST: Final = "an older XGBoost: load it there, and save it as .json or .ubj"
_ALL: Final = (
    "give an ONNX, XGBoost, LightGBM, CatBoost, PyTorch, Keras, TensorFlow, JAX or MXNet model, a scikit-learn estimator (joblib, pickle, skops), "
    "or a Hugging Face folder; a file of weights goes with the code that makes their module: --class MODULE:FACTORY"
)

_MAGIC: Final[tuple[tuple[int, bytes, str, str], ...]] = (
    (0, b"\x93NUMPY", "a numpy array", ""),
    (4, b"ORTM", "an ONNX Runtime .ort model", ""),
    (0, b"GGUF", "a GGUF model", ""),
    (0, b"binf", "an XGBoost binary model of before 3.1", _OLD_XGBOOST),
    (0, b"bs64", "an XGBoost binary model of before 3.1", _OLD_XGBOOST),
    (257, b"ustar", "a tar archive", ""),
    (0, b"PAR1", "a Parquet file", ""),
    (0, b"ARROW1", "an Arrow file", ""),
    (0, b"\x7fELF", "a native binary", ""),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", ""),
    (0, b"Rar!", "a RAR archive", ""),
)
_TAKEN: Final[tuple[tuple[int, bytes, str, str], ...]] = (
    (0, b"\x89HDF\r\n\x1a\n", "keras-h5", "Keras model (HDF5)"),
    (4, b"TFL3", "tflite", "TensorFlow Lite model"),
    (0, b"\x12\x01" + bytes(14), "mxnet", "MXNet parameters"),
)
_TREES: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"CBM1", "catboost", "CatBoost model"),
    (b"tree\n", "lightgbm", "LightGBM text model"),
    (b"tree\r\n", "lightgbm", "LightGBM text model"),
)
_OLD_TORCH: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""A pickle of the number that such files begin with."""
_EXPORTED: Final = "archive_format"
_ZIPPED: Final = {
    _EXPORTED: ("pt2", "PyTorch program (torch.export)"),
    "constants.pkl": ("torchscript", "TorchScript module"),
    "data.pkl": ("torch", "PyTorch file (torch.save)"),
    "model.weights.h5": ("keras", "Keras model"),
}
"""By a file that it alone holds; the first that is found counts."""
_DATA: Final = frozenset({"a numpy array", "a numpy archive (.npz)", "a Parquet file", "an Arrow file"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A format that `pack` takes, and what the bytes told beyond it (for messages)."""

    format: str
    detail: str
    scan: PickleScan | None = None

    @property
    def is_pickle(self) -> bool:
        return self.format in {"pickle", "joblib"}


def recognise(path: Path) -> Recognised:
    """The format of the file at `path`. Raises FileMissing, InvalidFile (empty, truncated, not a file), UnknownFormat (named, with a way on)."""
    size = _size_of(path)
    if size < 0:
        return _folder(path)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"}:
        return _zip(path)
    if head.startswith(_LFS):
        raise _pointer(path, head)
    for at, magic, name, detail in _TAKEN:
        if head[at : at + len(magic)] == magic:
            return Recognised(format=name, detail=detail)
    for at, magic, what, tool in _MAGIC:
        if head[at : at + len(magic)] == magic:
            raise _not_taken(path, what, tool)
    if head.startswith(_OLD_TORCH):
        return Recognised(format="torch", detail="PyTorch file (torch.save of before 1.6)")
    if jax_bytes.is_exported(head):
        return Recognised(format="jax", detail="JAX program (jax.export)")
    found = _trees(head) or _pickle(path, size) or _compressed(path, head)
    if found:
        return found
    if onnx_wire.looks_like_model(path, size):
        return Recognised(format="onnx", detail="ONNX model")
    return _by_text(path, head, size)


def _trees(head: bytes) -> Recognised | None:
    """Models of tree libraries: by their magic, or XGBoost's JSON and UBJSON by their first key."""
    for magic, name, detail in _TREES:
        if head.startswith(magic):
            return Recognised(format=name, detail=detail)
    start = head.lstrip()
    if start[:1] == b"{" and (b'"learner"' in start[:256] or b"learner" in start[:64]):
        return Recognised(format="xgboost", detail="XGBoost model")
    return None


def _size_of(path: Path) -> int:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise FileMissing(f"{path}: there is no such file", hint="check the path") from error
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{str(path)[:200]!r} cannot be read: {error}", hint="check the path and its permissions") from error
    if stat.S_ISDIR(status.st_mode):
        return -1
    if not stat.S_ISREG(status.st_mode):
        raise InvalidFile(f"{path}: neither a file nor a folder", hint="give a model file")
    if status.st_size == 0:
        raise InvalidFile(f"{path}: the file is empty", hint="save the model again: nothing was written")
    try:
        path.open("rb").close()
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror}", hint="check its permissions") from error
    return status.st_size


def _folder(path: Path) -> Recognised:
    if all((path / mark).is_file() for mark in ("config.json", "model.weights.h5")):
        return Recognised(format="keras", detail="Keras configuration and weights")
    taken = {"saved_model.pb": ("savedmodel", "TensorFlow SavedModel"), "config.json": ("huggingface", "Hugging Face folder")}
    for mark, (name, detail) in taken.items():
        if (path / mark).is_file():
            return Recognised(format=name, detail=detail)
    raise UnknownFormat(f"{path}: is a folder without a model that aweigh knows", hint="give the model file itself")


def _pointer(path: Path, head: bytes) -> InvalidFile:
    size = next((line[5:].decode("ascii", "replace")[:20] for line in head.splitlines() if line.startswith(b"size ")), "")
    about = f" of {size} bytes" if size else ""
    return InvalidFile(
        f"{path}: a {LFS_MARK}: it stands for a file{about} that was not fetched",
        hint="run 'git lfs pull' in the checkout, then pack the file itself",
    )


def _not_taken(path: Path, what: str, tool: str) -> UnknownFormat:
    if what in _DATA:
        return UnknownFormat(f"{path}: recognised as {what}, which holds data and no model", hint="give it as --sample or --labels")
    hint = tool if tool is _OLD_XGBOOST else _TO_ONNX.format(tool=tool) if tool else _ALL
    return UnknownFormat(f"{path}: recognised as {what}, which this version of aweigh does not take yet", hint=hint, recognised=what)


def _zip(path: Path) -> Recognised:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except UNREADABLE_ZIP as error:
        raise InvalidFile(f"{path}: a damaged or truncated zip archive: {error}", hint="copy or save the file again") from error
    if len(infos) > _MAX_ZIP_ENTRIES:
        raise InvalidFile(f"{path}: a zip archive of {len(infos)} entries", hint="no model file has that many")
    if infos and min(info.header_offset for info in infos) > 0:  # the table of an archive that lies inside of it, where its own was cut off
        raise InvalidFile(f"{path}: a zip archive that is truncated: its table is not its own", hint="copy or save the file again")
    names = [info.filename for info in infos]
    if "schema.json" in names:
        return Recognised(format="skops", detail="skops archive")
    ends = {name.rsplit("/", 1)[-1] for name in names}
    for taken, (name, detail) in _ZIPPED.items():
        if taken in ends or (taken == _EXPORTED and any("models/" in each and each.endswith(".json") for each in names)):
            return Recognised(format=name, detail=detail)
    raise _not_taken(path, *_zip_kind(names, ends))


def _zip_kind(names: list[str], ends: set[str]) -> tuple[str, str]:
    if names and all(name.endswith(".npy") for name in names):
        return "a numpy archive (.npz)", ""
    return ("a TorchServe archive (.mar)", "torch.onnx.export") if "MANIFEST.json" in ends else ("a zip archive", "")


def _pickle(path: Path, size: int) -> Recognised | None:
    with path.open("rb") as file:
        data = file.read(SCAN_BYTES)
    scan = scan_pickle(data, whole=size <= SCAN_BYTES)
    if scan is None:
        return None
    if scan.exhausted:
        raise InvalidFile(
            f"{path}: a pickle that is truncated: it stops at byte {size} without its end mark", hint="copy or save the file again"
        )
    return Recognised(format="joblib" if scan.joblib else "pickle", detail=f"pickle, protocol {scan.protocol}", scan=scan)


def _compressed(path: Path, head: bytes) -> Recognised | None:
    compression = compression_of(head)
    if not compression:
        return None
    data, whole = decompressed_head(path, compression)
    scan = scan_pickle(data, whole=whole)
    if scan or compression == "lz4":
        return Recognised(format="joblib", detail=f"pickle compressed with {compression}", scan=scan)
    if compression == "zlib" and not data:
        return None  # two bytes are a weak magic: something else may begin so
    if not data:
        raise InvalidFile(f"{path}: a {compression} file that is damaged or truncated", hint="copy or save the file again")
    inner = "a tar archive" if data[257:262] == b"ustar" else "data"
    raise _not_taken(path, f"{inner} compressed with {compression}", "")


def _by_text(path: Path, head: bytes, size: int) -> Recognised:
    start = head.lstrip()[:512]
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length < size + 100 * 1024 * 1024 and len(head) > 16:
        return Recognised(format="safetensors", detail="safetensors file")
    if start[:1] == b"{" and b'"nodes"' in start and b'"op"' in start:
        return Recognised(format="mxnet", detail="MXNet symbol")
    if jax_bytes.is_flax(head):
        raise UnknownFormat(
            f"{path}: recognised as Flax parameters, which hold no function that could be asked",
            hint="give --class module:factory, the function or Flax module that they belong to",
            recognised="Flax parameters",
        )
    if start[:1] in {b"{", b"["}:
        raise _not_taken(path, "JSON text", "")
    reason = onnx_wire.truncation(path, size)
    if reason:
        raise InvalidFile(f"{path}: an ONNX model that is truncated: {reason}", hint="copy or save the file again")
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        raise InvalidFile(f"{path}: begins as a pickle but is none from byte 2 on", hint="the file is damaged: save it again")
    raise UnknownFormat(
        f"{path}: not a format that aweigh knows (it begins with {head[:8].hex(' ')})",
        hint=_ALL,
    )

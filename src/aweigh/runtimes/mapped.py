"""Weights that several processes share: an ONNX model laid out once so that ONNX Runtime maps its weights from a file, which all map alike.

Called by the engine where a server has several workers. The layout is made and tried in a capped child (`onnxruntime_layout`), kept in the cache of
the home folder by content, and is of this machine and this library version alone: what is kept is what their kernels want. Must never fail a
load: where a layout cannot be made, or shares nothing, the model is loaded as it is and the reason told.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import AweighError
from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.isolate import Caps, call

MODEL_FILE: Final = "model.onnx"
WEIGHTS_FILE: Final = "model.weights"
_FILES: Final = (MODEL_FILE, WEIGHTS_FILE)
_LAYOUT_FILE: Final = "layout.json"
_TARGET: Final = "aweigh.runtimes.onnxruntime_layout:lay_out"
_UNUSED_S: Final = 30 * 86400.0
_MIB: Final = 1024 * 1024


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is to lay out into `folder`. `inputs` is a golden case to time and try it with."""

    variant: Variant
    signature: Signature
    files: dict[str, str]
    folder: str
    inputs: str
    session_threads: int


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it. Microseconds are medians of one golden case; 0 where none was timed."""

    shared: bool
    why: str = ""
    """Why it is not shared."""
    options: dict[str, str | int | float | bool] = {}
    """What the runtime is to be told beside the variant's own options."""
    weights_bytes: int = 0
    private_bytes: int = 0
    """Memory that a process has of its own with it, the inputs and outputs of a call included."""
    own_us: float = 0.0
    """A call with weights of its own, prepared by the library as it likes."""
    shared_us: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What to load instead, and what to say of it."""

    variant: Variant
    path: Callable[[str], Path]
    note: str


def map_weights(
    variant: Variant,
    signature: Signature,
    path: Callable[[str], Path],
    *,
    cache: Path,
    inputs: Path | None,
    session_threads: int,
    caps: Caps,
) -> Mapped:
    """The variant with its weights where all processes may map them; itself, and why, where that cannot be."""
    whole, variant, signature = variant, variant.bare(), variant.bare_signature(signature)
    files = {file: path(file) for file in variant.files}
    try:
        folder = cache / _key(variant, files, session_threads)
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache / f"{folder.name}.lock"):
            layout = _known(folder)
            if layout is None:
                _tidy(cache)
                job = Job(
                    variant=variant, signature=signature, files={name: str(file) for name, file in files.items()}, folder=str(folder),
                    inputs="" if inputs is None else str(inputs), session_threads=session_threads,
                )  # fmt: skip
                layout = _make(job, folder, caps)
    except OSError as error:
        return Mapped(variant=whole, path=path, note=f"private to each process: {error}")
    if not layout.shared:
        return Mapped(variant=whole, path=path, note=f"private to each process: {layout.why}")
    files_of_step = whole.step.files if whole.step else ()
    chosen = msgspec.structs.replace(whole, files=(*_FILES, *files_of_step), options={**whole.options, **layout.options})
    return Mapped(variant=chosen, path=lambda file: folder / file if file in _FILES else path(file), note=describe(layout))


def describe(layout: Layout) -> str:
    """The sharing and its price, for people."""
    price = ""
    if layout.own_us:
        price = f"; a call takes {layout.shared_us:.0f} us, with weights of its own {layout.own_us:.0f} us"
    how = "as they are in the model" if layout.options.get("config:session.disable_prepacking") else "as the library prepares them"
    return f"shared: {layout.weights_bytes / _MIB:.0f} MiB mapped by all processes, {how}{price}"


def _key(variant: Variant, files: dict[str, Path], session_threads: int) -> str:
    """By content where the store says it (a blob's name is its digest), else by what the file system knows; and by library and processor."""
    library = importlib.util.find_spec("onnxruntime")
    installed = Path(library.origin).stat() if library is not None and library.origin else None
    facts: list[object] = [
        installed and (installed.st_size, installed.st_mtime_ns),
        session_threads,
        sorted(variant.options.items()),
        _processor(),
    ]
    for name, file in files.items():
        known = file.stat()
        facts.append((name, file.name, known.st_size, known.st_mtime_ns))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _processor() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        return "".join(next((line for line in lines if line.lower().startswith(word)), "") for word in ("model name", "flags", "features"))
    return ""


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process lays out, the others wait for it; the lock goes with its holder, however that ends."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _known(folder: Path) -> Layout | None:
    try:
        layout = msgspec.json.decode((folder / _LAYOUT_FILE).read_bytes(), type=Layout)
    except (OSError, msgspec.DecodeError):
        return None
    if layout.shared and not all((folder / name).is_file() for name in _FILES):
        return None
    os.utime(folder)
    return layout


def _make(job: Job, folder: Path, caps: Caps) -> Layout:
    """Lay out beside the place, then move there: a folder that is there is whole."""
    with tempfile.TemporaryDirectory(prefix="new-", dir=folder.parent) as new:
        try:
            layout = call(_TARGET, msgspec.structs.replace(job, folder=new), Layout, caps=caps)
        except AweighError as error:
            layout = Layout(shared=False, why=error.message)
        if not layout.shared:
            for name in _FILES:
                (Path(new) / name).unlink(missing_ok=True)
        (Path(new) / _LAYOUT_FILE).write_bytes(msgspec.json.encode(layout))
        for file in Path(new).iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        shutil.rmtree(folder, ignore_errors=True)
        Path(new).rename(folder)
        Path(new).mkdir()  # for the context to remove
    return layout


def _tidy(cache: Path) -> None:
    """Remove layouts that nobody loaded for a month, and what a killed process left; whoever maps one still has it."""
    now = time.time()
    for folder in cache.iterdir():
        with contextlib.suppress(OSError):
            age_s = now - folder.stat().st_mtime
            if folder.is_dir() and age_s > (86400.0 if folder.name.startswith("new-") else _UNUSED_S):
                shutil.rmtree(folder, ignore_errors=True)

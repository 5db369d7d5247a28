"""A variant's files as a library wants them: under the names and beside each other as the package has them, whatever the store calls them."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from aweigh.core.errors import InvalidFile


@contextlib.contextmanager
def laid_out(files: tuple[str, ...], path: Callable[[str], Path], *, named: bool = False) -> Iterator[Path]:
    """The entry file on disk with its further files beside it. A file that is alone stays where it is, unless the library goes by its name (`named`)."""
    entry = path(files[0])
    if len(files) == 1 and not named:
        yield entry
        return
    root = PurePosixPath(files[0]).parent
    with tempfile.TemporaryDirectory(prefix="aweigh-files-") as folder:
        for file in files:
            if not PurePosixPath(file).is_relative_to(root):
                raise InvalidFile(f"{file} lies outside the folder of {files[0]}, which needs it")
            place = Path(folder) / PurePosixPath(file).relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            _place(path(file), place)
        yield Path(folder) / PurePosixPath(files[0]).name


def copy_out(files: Iterable[str], path: Callable[[str], Path], folder: Path, *, root: str) -> None:
    """Copies of the files that lie below `root` in the package, as they lie there: for code, which may write beside itself."""
    for file in files:
        place = folder / PurePosixPath(file).relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path(file), place)


def _place(file: Path, place: Path) -> None:
    """Hard links, because ONNX Runtime refuses external data that resolves to a place outside the model's own folder."""
    try:
        place.hardlink_to(file)
    except OSError:  # another file system: links to files of one folder resolve alike, which it takes
        place.symlink_to(file.absolute())

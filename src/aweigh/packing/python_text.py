"""A person's Python as text: parsed to be told apart, never run."""

import ast
from pathlib import Path
from typing import Final

from aweigh.core.errors import InvalidFile, TooLarge

_MAX_TEXT: Final = 4 * 1024 * 1024


def parse_python(file: Path) -> ast.Module:
    """What a Python file says. Raises TooLarge, InvalidFile."""
    if file.stat().st_size > _MAX_TEXT:
        raise TooLarge(f"{file}: a Python file of {file.stat().st_size} bytes")
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidFile(f"{file}: not Python: {error}", hint="check the file") from error


def module_file(folder: Path, module: str) -> Path | None:
    """The source of a dotted module below a folder, or None."""
    inside = folder.joinpath(*module.split("."))
    return next((place for place in (inside.with_suffix(".py"), inside / "__init__.py") if place.is_file()), None)

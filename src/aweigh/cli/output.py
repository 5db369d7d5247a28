"""What commands print: one JSON document or text and tables on stdout; errors and progress on stderr. The only file that prints.

rich is imported when something is drawn with it. Text from packages and files is stripped of control characters: it must never
steer a person's terminal.
"""

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from aweigh.core.errors import AweighError, Unavailable

if TYPE_CHECKING:
    from rich.console import Console

    from aweigh.core.protocols import Progress

WIDE: Final = 200
"""Columns where there is no terminal to ask."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_STYLES: Final = {
    "passed": "green", "proven": "green", "ok": "green", "full": "green",
    "FAILED": "bold red", "failed": "bold red", "problem": "bold red", "missing": "yellow", "note": "yellow", "weak": "yellow", "unproven": "yellow",
}  # fmt: skip
"""Verdicts that stand alone in a cell are coloured."""


class ReaderGone(Exception):
    """Whoever reads stdout has left (`aweigh models | head`); not an error."""


class CannotWrite(Exception):
    """stdout takes nothing more, as on a full disk."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.error = Unavailable(
            f"cannot write to standard output: {why}",
            hint="free space where it goes, or send it elsewhere; what is printed there is not whole",
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a command draws on; `as_json` is the person's choice."""

    as_json: bool = False

    def show(self, document: object, draw: Callable[[], None]) -> None:
        """Print the document under --json, else let `draw` print the human form."""
        if self.as_json:
            write_json(document)
        else:
            draw()

    def text(self, *lines: str) -> None:
        """Print plain lines on stdout; nothing under --json, where the document is all there is."""
        if not self.as_json:
            for line in lines:
                _write(clean(line) + "\n")

    def data(self, text: str) -> None:
        """Print data as it is, for other programs to read."""
        _write(text)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
        """Print a table on stdout. Columns that hold only numbers are aligned to the right."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        texts = [[_cell(cell) for cell in row] for row in rows]
        drawn = Table(
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            title=title or None,
            title_justify="left",
            title_style="bold",
            header_style="bold",
        )
        for at, column in enumerate(columns):
            numeric = bool(texts) and all(_is_number(row[at]) for row in texts)
            drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in texts:
            drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        console = _console(sys.stdout)
        with console.capture() as capture:
            console.print(drawn)
        _write("\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines()) + "\n")

    @contextlib.contextmanager
    def progress(self) -> "Iterator[Progress]":
        """A `Progress` that draws the current step on stderr while the block runs; silent where stderr is no terminal."""
        from aweigh.core.protocols import quiet

        if self.as_json or not sys.stderr.isatty():
            yield quiet
            return
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bars(*columns, console=_console(sys.stderr), transient=True) as bars:
            task = bars.add_task("starting", total=None)

            def draw(step: str, done: int = 0, total: int = 0) -> None:
                bars.update(task, description=clean(step), completed=done, total=total or None)

            yield draw

    @contextlib.contextmanager
    def live(self) -> Iterator[Callable[[Sequence[str]], None]]:
        """A function that draws lines in place of those before, on a terminal; they are gone when the block ends."""
        from rich.live import Live
        from rich.text import Text

        with Live(console=_console(sys.stdout), transient=True, auto_refresh=False) as drawn:
            yield lambda lines: drawn.update(Text("\n".join(map(clean, lines)), no_wrap=True, overflow="ellipsis"), refresh=True)


def write_json(document: object) -> None:
    """Print one JSON document on stdout; bytes of a name that are no UTF-8 are shown as escapes."""
    import msgspec

    try:
        data = msgspec.json.encode(document)
    except UnicodeEncodeError:
        data = msgspec.json.encode(_encodable(msgspec.to_builtins(document, str_keys=True)))
    _write(msgspec.json.format(data, indent=2).decode() + "\n")


def error(failure: AweighError, *, as_json: bool) -> None:
    """Print an error: as `{"error": …}` on stdout under --json, else as `error:` and `hint:` lines on stderr."""
    if as_json:
        write_json({"error": failure.as_dict()})
        return
    _complain("error", "1;31", failure.message)
    if failure.hint:
        _complain("hint", "1;36", failure.hint)


def warn(message: str) -> None:
    """Print a `warning:` line on stderr."""
    _complain("warning", "1;33", message)


def clean(text: str) -> str:
    """The text with control characters, direction overrides and bytes that were no UTF-8 shown as escapes."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _encodable(value: object) -> object:
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(each) for each in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def count_text(count: int, what: str) -> str:
    """`1 row`, `3 rows`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def size_text(size_bytes: int) -> str:
    """Bytes as a person reads them: `12 B`, `3.4 kB`, `1.2 GB`."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def flush() -> None:
    """Flush stdout. Raises ReaderGone, CannotWrite."""
    with _writing():
        sys.stdout.flush()


def discard() -> None:
    """Send whatever is still buffered for stdout nowhere, so that the interpreter's last flush cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(text: str) -> None:
    with _writing():
        sys.stdout.write(text)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as failure:
        raise ReaderGone from failure
    except OSError as failure:
        raise CannotWrite(failure.strerror or str(failure)) from failure


def _complain(label: str, colour: str, message: str) -> None:
    shown = f"\x1b[{colour}m{label}:\x1b[0m" if _coloured(sys.stderr) else f"{label}:"
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{shown} {clean(message)}\n")
        sys.stderr.flush()


def _coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else WIDE, highlight=False, no_color=not _coloured(stream))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return clean(str(value))


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(".", "", 1).lstrip("-+").replace("e-", "", 1).replace("e+", "", 1).isdigit()

"""Errors at the edge of the command line: each becomes a message with a hint (or one JSON document) and an exit code. Called by `main`.

Exit codes: 0 done, 1 a check failed or the model was refused, 2 wrong use, 3 not found, 4 unavailable, 5 internal, 130 interrupted, 143 terminated.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click

from aweigh.cli import output
from aweigh.core.errors import AweighError, InternalError, Kind, WrongUse
from aweigh.core.nearest import nearest

EXIT_CODES: Final[dict[Kind, int]] = {
    Kind.INVALID: 2,
    Kind.TOO_LARGE: 2,
    Kind.UNAUTHENTICATED: 1,
    Kind.DENIED: 1,
    Kind.NOT_FOUND: 3,
    Kind.CONFLICT: 1,
    Kind.UNSUPPORTED: 2,
    Kind.REFUSED: 1,
    Kind.UNAVAILABLE: 4,
    Kind.OVERLOADED: 4,
    Kind.TIMEOUT: 4,
    Kind.CANCELLED: 4,
    Kind.INTERNAL: 5,
}
INTERRUPTED: Final = 130
CRASH_FILE: Final = "last-crash.txt"


def unknown_command(name: str, known: Sequence[str]) -> WrongUse:
    """The error for a command that does not exist, with the nearest name."""
    near = nearest(name, known)
    return WrongUse(f"there is no command {name!r}", hint=f"did you mean 'aweigh {near}'?" if near else "'aweigh --help' lists them")


def run(action: Callable[[], object], words: Sequence[str]) -> int:
    """Run a command and return its exit code: an int that it returned, else 0, else that of its error. The CLI's boundary: nothing escapes."""
    try:
        result = action()
        output.flush()
        return result if isinstance(result, int) else 0
    except output.ReaderGone:
        output.discard()
        return 0
    except output.CannotWrite as failure:
        output.discard()
        output.error(failure.error, as_json=False)
        return EXIT_CODES[failure.error.kind]
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.ClickException as error:
        return _report(_wrong_use(error), words)
    except AweighError as error:
        _log_traceback(words)
        return _report(error, words)
    except Exception as error:  # noqa: BLE001  # the listed boundary of the command line
        _log_traceback(words)
        return _report(_unexpected(error, words), words)


def terminated(number: int, _frame: object) -> None:
    """For SIGTERM: end as after Ctrl-C, so that what was begun is cleared away."""
    raise SystemExit(128 + number)


def _report(error: AweighError, words: Sequence[str]) -> int:
    try:
        output.error(error, as_json="--json" in words)
        output.flush()
    except (output.ReaderGone, output.CannotWrite):
        output.discard()
    return EXIT_CODES[error.kind]


def _wrong_use(error: click.ClickException) -> WrongUse:
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = context.command_path if context else "aweigh"
    message = error.format_message().rstrip(".")
    return WrongUse(message[:1].lower() + message[1:], hint=f"'{where} --help' shows how it is used")


def _unexpected(error: Exception, words: Sequence[str]) -> InternalError:
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    file = _write_crash(words)
    hint = (
        f"this is a bug in aweigh: please report it with {file}" if file else "run again with --log-level debug and report what it prints"
    )
    return InternalError(what, hint=hint)


def _write_crash(words: Sequence[str]) -> Path | None:
    """Write the traceback to a file in the home folder, which is named; None where that is not possible."""
    import platform  # here because only a crash needs these
    import traceback

    from aweigh import __version__
    from aweigh.core.settings import read_settings

    try:
        settings, _ = read_settings({"home": _given_home(words)})
        file = settings.home_folder / CRASH_FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        facts = f"aweigh {__version__}, Python {platform.python_version()}, {platform.platform()}\ncommand: {' '.join(words[:1])}\n\n"
        file.write_text(facts + traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
    except (OSError, AweighError):
        return None
    return file


def _given_home(words: Sequence[str]) -> str | None:
    for at, word in enumerate(words):
        if word == "--home" and at + 1 < len(words):
            return words[at + 1]
        if word.startswith("--home="):
            return word.removeprefix("--home=")
    return None


def _log_traceback(words: Sequence[str]) -> None:
    """With --log-level debug, by flag or environment, the traceback goes to stderr."""
    if "debug" in (*words, os.environ.get("AWEIGH_LOG_LEVEL")) or "--log-level=debug" in words:
        import traceback

        traceback.print_exc(file=sys.stderr)

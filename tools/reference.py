"""Write the generated reference pages (`make docs`) from the code they describe, or tell whether they are fresh (`--check`)."""

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click
import msgspec

from aweigh.cli.failures import EXIT_CODES
from aweigh.cli.main import COMMANDS, root
from aweigh.cli.settings_help import setting_help
from aweigh.core import errors
from aweigh.core.settings import ENVIRONMENT_PREFIX, SETTINGS_FILE, Settings
from aweigh.serve.status import GRPC_CODE, HTTP_STATUS

FOLDER = Path(__file__).resolve().parent.parent / "docs/reference"
NOTE = "<!-- Written by `make docs` from the code; edit {source} instead. -->"
GRPC_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    "UNAUTHENTICATED",
)  # fmt: skip
EXITS = {
    0: "done",
    1: "a check failed, or the model or the request was refused",
    2: "wrong use: a wrong command line, value or file",
    3: "not found",
    4: "unavailable: try again later or free something",
    5: "internal: a bug in aweigh, or a model that raised",
    130: "interrupted (Ctrl-C)",
    143: "terminated (SIGTERM); `aweigh serve` drains, and ends with 0",
}


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings_page() -> str:
    """Every setting: key, variable, default, meaning."""
    defaults = msgspec.structs.asdict(Settings())
    rows = [
        (f"`{name}`", f"`{ENVIRONMENT_PREFIX}{name.upper()}`", f"`{_value(value)}`", setting_help()[name])
        for name, value in defaults.items()
    ]
    return f"""# Settings

{NOTE.format(source="src/aweigh/core/settings.py")}

A setting is taken from the first of these that has it: an option of the command, the environment, the settings file, its default.
The settings file is `{SETTINGS_FILE}` in the home folder, or the file named by `--settings`: TOML, one `key = value` per line.
An unknown key is an error that names the nearest one. `aweigh config` prints each value and where it came from.

{table(("key", "environment", "default", "meaning"), rows)}
"""


def errors_page() -> str:
    """Every error: code, kind, and what each edge makes of it."""
    meanings = dict(re.findall(r"^[│├└─ ]*\w+ +([a-z-]+) +[A-Z_]+ +(\S.*)$", errors.__doc__ or "", re.MULTILINE))
    rows = [
        (
            f"`{cls.code}`",
            cls.kind.value,
            EXIT_CODES[cls.kind],
            HTTP_STATUS[cls.kind],
            GRPC_NAMES[GRPC_CODE[cls.kind]],
            meanings.get(cls.code, ""),
        )
        for cls in errors.all_errors()
        if cls is not errors.AweighError
    ]
    return f"""# Errors

{NOTE.format(source="src/aweigh/core/errors.py")}

Every error has a message that says what failed, with the value and the place, and most have a hint that says the next step.
On the command line they are printed as `error:` and `hint:` lines on stderr; under `--json` as
`{{"error": {{"code", "kind", "message", "hint", "context"}}}}` on stdout. In Python they are subclasses of `aweigh.AweighError` with the
same fields. The `code` is stable: match on it, never on the text.

{table(("code", "kind", "exit code", "HTTP", "gRPC", "when"), rows)}

## Exit codes

{table(("code", "meaning"), EXITS.items())}
"""


def cli_page() -> str:
    """Every command with its help text."""
    parts = []
    with click.Context(root, info_name="aweigh") as top:
        for section, commands in COMMANDS.items():
            parts.append(f"## {section}\n")
            for name, (module, line) in commands.items():
                command: click.Command = importlib.import_module(module).command
                with click.Context(command, info_name=name, parent=top, max_content_width=100, terminal_width=100) as context:
                    parts.append(f"### aweigh {name}\n\n{line}.\n\n```text\n{command.get_help(context)}\n```\n")
    return f"""# Command line

{NOTE.format(source="src/aweigh/cli")}

Every command takes `--json`, which prints one JSON document on stdout and nothing else there. Logs, progress and errors go to stderr.
The exit codes are listed in [errors](errors.md#exit-codes). `NO_COLOR` is respected.

{chr(10).join(parts)}"""


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


PAGES: dict[str, Callable[[], str]] = {"settings.md": settings_page, "errors.md": errors_page, "cli.md": cli_page}


def main() -> int:
    """Write or compare every page."""
    stale = False
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"docs/reference/{name} is older than the code: run `make docs`")
            stale = True
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

"""The options every command takes, and the `Run` that they become: settings, their origins, and where to print."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Final

import click

from aweigh.cli.output import Output
from aweigh.core.settings import Origin, Settings

Function = Callable[..., object]

_METAVARS: Final = {int: "NUMBER", float: "NUMBER", str: "TEXT"}
_GLOBAL: Final = ("as_json", "settings_file", "home", "log_level", "log_format")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a command."""

    settings: Settings
    origins: list[Origin]
    output: Output


def common_options(*settings: str) -> Callable[[Function], Function]:
    """Give a command --json, the global options, and an option for each named setting; the function gets a `Run` first.

    Settings given as options override environment and file. Use it next to the function, under `click.command` and its arguments.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        @click.pass_context
        def command(ctx: click.Context, /, **values: object) -> object:
            names = (*_GLOBAL, *settings)
            given = {name: values.pop(name) for name in names}
            flags = {**(ctx.find_root().obj or {}), **{name: value for name, value in given.items() if value is not None}}
            return function(_start(flags), **values)

        wrapped: Function = command
        for option in reversed([*(_setting_option(name) for name in settings), *_shared_options()]):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _start(flags: dict[str, object]) -> Run:
    from aweigh.app.logs import set_up_logging
    from aweigh.core.settings import read_settings

    as_json = bool(flags.pop("as_json", False))
    file = flags.pop("settings_file", None)
    settings, origins = read_settings(flags, file=None if file is None else str(file))
    set_up_logging(settings)
    return Run(settings=settings, origins=origins, output=Output(as_json=as_json))


def _shared_options() -> list[Callable[[Function], Function]]:
    return [
        click.option("--json", "as_json", is_flag=True, default=None, help="Print one JSON document on stdout."),
        click.option("--settings", "settings_file", metavar="FILE", help="Settings file (default: aweigh.toml in the home folder)."),
        click.option("--home", metavar="FOLDER", help="Folder of store, caches and records."),
        click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error."),
        click.option("--log-format", metavar="FORMAT", help="auto, json or text."),
    ]


def _setting_option(name: str) -> Callable[[Function], Function]:
    from aweigh.cli.settings_help import setting_help

    flag = "--" + name.replace("_", "-")
    default = getattr(Settings(), name)
    if isinstance(default, bool):
        return click.option(flag, name, is_flag=True, default=None, help=setting_help()[name])
    shown = f" (default: {default})" if default != "" else ""
    return click.option(flag, name, metavar=_METAVARS[type(default)], help=setting_help()[name].rstrip(".") + shown + ".")

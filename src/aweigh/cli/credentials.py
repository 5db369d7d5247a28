"""The options of `push` and `pull` that say who we are, and the password from stdin."""

import sys
from collections.abc import Callable

import click

from aweigh.app.shipping import access_of
from aweigh.cli.options import Function, Run
from aweigh.core.errors import WrongUse
from aweigh.store.remotes import Access

SETTINGS = ("ca_file", "plain_http", "transfer_timeout_s")
_MAX_PASSWORD_BYTES = 64 * 1024


def credential_options(function: Function) -> Function:
    """Give a command --username and --password-stdin."""
    options: list[Callable[[Function], Function]] = [
        click.option("--password-stdin", is_flag=True, help="Read the password or token of --username from stdin."),
        click.option("--username", metavar="NAME", default="", help="User name at the registry (default: what 'docker login' left)."),
    ]
    for option in options:
        function = option(function)
    return function


def access_from(run: Run, *, username: str, password_stdin: bool, mount_from: str = "") -> Access:
    """How to reach the remote. Raises WrongUse when one of the two options is without the other."""
    if bool(username) != password_stdin:
        raise WrongUse("--username and --password-stdin go together", hint="… --username NAME --password-stdin < FILE")
    password = sys.stdin.read(_MAX_PASSWORD_BYTES).rstrip("\r\n") if password_stdin else ""
    return access_of(run.settings, username=username, password=password, mount_from=mount_from)

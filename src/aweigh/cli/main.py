"""The command `aweigh`: the table of commands, and the one place where an error becomes a message and an exit code.

A command's module is imported when the command runs, so that `aweigh --help` stays quick. Nothing heavy may be imported here.
"""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

import click

from aweigh import __version__
from aweigh.cli import failures

COMMANDS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Make and prove": {
        "pack": ("aweigh.cli.pack", "Turn a trained model file into a proven package"),
        "verify": ("aweigh.cli.verify", "Prove a package again, on this machine"),
        "evaluate": ("aweigh.cli.evaluate", "Say how right packages are, on data with known answers"),
        "diff": ("aweigh.cli.diff", "Compare what two packages answer"),
        "optimize": ("aweigh.cli.optimize", "Make a package faster and smaller, within a budget, with proof"),
        "profile": ("aweigh.cli.profile", "Show where a model's time and memory go"),
    },
    "Keep": {
        "models": ("aweigh.cli.models", "List the packages in the store"),
        "show": ("aweigh.cli.show", "Show a package: signature, variants, evidence, origin"),
        "alias": ("aweigh.cli.alias", "Point a name such as 'champion' at a version"),
        "remove": ("aweigh.cli.remove", "Remove a version, an alias or a whole model"),
        "collect": ("aweigh.cli.collect", "Free the space of what no version needs"),
        "fsck": ("aweigh.cli.fsck", "Read the whole store and say what is damaged"),
    },
    "Carry": {
        "export": ("aweigh.cli.export", "Write a package to one file"),
        "import": ("aweigh.cli.import_file", "Publish the package in such a file"),
        "push": ("aweigh.cli.push", "Send a package to a registry or an object store"),
        "pull": ("aweigh.cli.pull", "Publish the package at such an address"),
    },
    "Run": {
        "predict": ("aweigh.cli.predict", "Answer a small file, in process"),
        "serve": ("aweigh.cli.serve", "Serve models over REST and gRPC on one port"),
        "promote": ("aweigh.cli.promote", "Move a name to another version: at once, by canary or shadow"),
        "rollback": ("aweigh.cli.rollback", "Go back to the version that answered before"),
        "rollouts": ("aweigh.cli.rollouts", "Show what is tried out, and how earlier rollouts ended"),
        "status": ("aweigh.cli.status", "Show a running server: workers, models, and why each runs as it does"),
        "bench": ("aweigh.cli.bench", "Load a server and say how it did, for any URL"),
    },
    "Ship": {
        "advise": ("aweigh.cli.advise", "Say which target and size suits a model, and what it costs"),
        "image": ("aweigh.cli.image", "Build a container image of a model, without Docker"),
        "deploy": ("aweigh.cli.deploy", "Render a package for a target, check it, and apply it if asked"),
        "undeploy": ("aweigh.cli.undeploy", "Take away what was deployed"),
        "deployments": ("aweigh.cli.deployments", "List what was deployed where"),
    },
    "Help yourself": {
        "demo": ("aweigh.cli.demo", "Train, pack, prove, serve, ask and swap a real model"),
        "config": ("aweigh.cli.config", "Print every setting and where its value came from"),
        "env": ("aweigh.cli.env", "List and remove the environments that aweigh made"),
        "doctor": ("aweigh.cli.doctor", "Check this machine and this installation"),
    },
}
"""Section -> command -> (module, help line), in pipeline order. The module holds a click command named `command`."""

_MODULES: Final = {name: module for section in COMMANDS.values() for name, (module, _) in section.items()}


class LazyCommands(click.Group):
    """A group whose commands come from COMMANDS and are imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in _MODULES:
            raise failures.unknown_command(args[0], list(_MODULES))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(8), line) for name, (_, line) in commands.items()])


@click.command(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="aweigh", message="%(prog)s %(version)s")
@click.option("--settings", "settings_file", metavar="FILE", help="Settings file (default: aweigh.toml in the home folder).")
@click.option("--home", metavar="FOLDER", help="Folder of store, caches and records (default: ~/.aweigh).")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option("--log-format", metavar="FORMAT", help="auto, json or text.")
@click.option("--json", "as_json", is_flag=True, default=None, help="Print one JSON document on stdout.")
@click.pass_context
def root(ctx: click.Context, /, **given: object) -> None:
    """Take a trained model file into production, with proof at every step.

    Start with `aweigh demo`. The options below may also follow a command.
    """
    ctx.obj = {name: value for name, value in given.items() if value is not None}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; see `failures` for the codes."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for whatever is started from here: programs of others import ONNX Runtime too
    if next((word for word in words if word in _MODULES), "") != "serve":  # which drains
        signal.signal(signal.SIGTERM, failures.terminated)
    sys.exit(failures.run(lambda: root.main(words or ["--help"], prog_name="aweigh", standalone_mode=False), words))


if __name__ == "__main__":
    main()

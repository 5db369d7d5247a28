"""Microsoft Azure through its own client, `az`. Called by the targets azureml and container-apps."""

import re
from typing import Final

from aweigh.core.errors import InvalidInput, Refused
from aweigh.deploy.commands import Commands

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.()-]{0,88}[A-Za-z0-9_()-])?", re.ASCII)
_GONE: Final = ("ResourceNotFound", "ResourceGroupNotFound", "could not be found", "was not found", "does not exist")


class Azure:
    """The client, for one place: words such as `--resource-group=models`."""

    def __init__(self, commands: Commands, *place: str) -> None:
        self._commands = commands
        self._place = place

    def call(self, *words: str) -> str:
        """What it printed. Raises Unavailable, Refused with its own words."""
        return self._commands.run(["az", *words, *self._place, "--only-show-errors"], timeout_s=1800)

    def there(self, *words: str) -> bool:
        """Whether what is asked for is there."""
        try:
            self.call(*words)
        except Refused as error:
            if any(word in error.message for word in _GONE):
                return False
            raise
        return True


def checked(**names: str) -> None:
    """Raises InvalidInput for what is no name of a group, workspace or environment; empty ones are given by who runs it."""
    for what, name in names.items():
        if name and not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{name[:80]!r} is no name of a {what.replace('_', ' ')}", hint="letters, digits, '-', '_', '.' and brackets"
            )

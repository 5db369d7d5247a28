"""Which models stand in for which, as the setting `fallback` says, checked against the packages before anything is served."""

from collections.abc import Iterable
from typing import Final

from aweigh.core.alike import gap_between
from aweigh.core.errors import InvalidName, InvalidSetting
from aweigh.core.names import model_name
from aweigh.core.settings import Settings
from aweigh.core.signature import Signature

_HINT: Final = "write it as NAME=OTHER, several separated by commas"


def fallbacks_of(settings: Settings) -> dict[str, str]:
    """The other model of each name. Raises InvalidSetting naming the part that is wrong."""
    found: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in settings.fallback.split(","))):
        name, equals, other = (each.strip() for each in part.partition("="))
        if not equals:
            raise InvalidSetting(f"setting 'fallback' holds {part!r}: that names one model", hint=_HINT)
        try:
            name, other = model_name(name), model_name(other)
        except InvalidName as error:
            raise InvalidSetting(f"setting 'fallback' holds {part!r}: {error.message}", hint=_HINT) from None
        if name == other:
            raise InvalidSetting(f"setting 'fallback' lets '{name}' stand in for itself", hint="name another model")
        if name in found:
            raise InvalidSetting(f"setting 'fallback' names '{name}' twice", hint="a model has one to fall back on")
        found[name] = other
    return found


def check_fallbacks(settings: Settings, served: Iterable[tuple[str, Signature]]) -> None:
    """Raises InvalidSetting for a fallback that is not served, or that cannot answer what the other can."""
    pairs, known = fallbacks_of(settings), [(str(name), signature) for name, signature in served]
    names = {name for name, _ in known}
    for name, other in pairs.items():
        for each in (name, other):
            if each not in names:
                raise InvalidSetting(
                    f"setting 'fallback' names '{each}', which is not served", hint=f"serve both: aweigh serve {name} {other}"
                )
        for mine in (signature for each, signature in known if each == name):
            for theirs in (signature for each, signature in known if each == other):
                if gap := gap_between(mine, theirs):
                    raise InvalidSetting(f"'{other}' cannot stand in for '{name}': {gap}", hint="inputs and outputs must be the same")

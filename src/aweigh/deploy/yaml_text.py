"""Data as YAML that people read and that every parser of YAML 1.1 and 1.2 reads alike: what could be taken for anything but text is quoted.

The only file that knows the YAML library. Never formats text into text: a value cannot become structure.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from aweigh.core.errors import InvalidFile

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(?::[A-Za-z0-9_./-]+)*", re.ASCII)
"""Text that needs no quotes: words, paths, addresses of images."""
_TAKEN: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"})


class _Emitter(yaml.SafeDumper):  # type: ignore[misc]  # the library has no types
    def ignore_aliases(self, data: Any) -> bool:  # of the library
        """Never `&id001`: the same data twice is written twice."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # of the library
        super().increase_indent(flow=flow, indentless=False)


def _text(emitter: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if "\n" in value and value.isprintable() is False and all(line.isprintable() and line == line.rstrip() for line in value.splitlines()):
        return emitter.represent_scalar("tag:yaml.org,2002:str", value, style="|")
    plain = _PLAIN.fullmatch(value) and value.lower() not in _TAKEN
    return emitter.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Emitter.add_representer(str, _text)


def yaml_text(*documents: Mapping[str, Any], said: Sequence[str] = ()) -> bytes:
    """One YAML stream of these documents, keys in their order; `said` are lines of comment at its head."""
    head = "".join(f"# {line if line.isprintable() else ascii(line)}\n" for text in said for line in text.splitlines())
    text: str = yaml.dump_all(
        list(documents),
        Dumper=_Emitter,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=False,
        width=120,
        explicit_start=len(documents) > 1,
    )
    return (head + text).encode()


def read_yaml(data: bytes, *, place: str) -> list[Any]:
    """The documents of a YAML stream. Raises InvalidFile with the line."""
    try:
        return list(yaml.safe_load_all(data))
    except yaml.YAMLError as error:
        raise InvalidFile(f"{place} is not YAML: {str(error)[:300]}", hint="mend it, or render it again with --force") from error

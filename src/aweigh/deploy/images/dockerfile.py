"""The same image for those who build with Docker: a folder with a Dockerfile, a compose file and everything that they copy. Used by `app`.

Every value goes through the emitter below or through `yaml_text`: no name can end its instruction and begin another.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from aweigh.core.errors import InvalidInput
from aweigh.deploy.images.layers import Content, Files, Link
from aweigh.deploy.images.payload import NOBODY, Part, Start
from aweigh.deploy.platforms import Platform
from aweigh.deploy.yaml_text import yaml_text

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_BASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_ESCAPED: Final = re.compile(r'[\\"$]')


def docker_folder(
    base: str, platform: Platform, name: str, parts: Sequence[Part], start: Start, labels: Mapping[str, str]
) -> dict[str, bytes | Path]:
    """The folder's files by path, for one platform. Raises InvalidInput for what no Dockerfile can hold."""
    files, copies = context(parts)
    text = dockerfile(base, platform, copies, start, labels)
    return {**files, "Dockerfile": text.encode(), "compose.yaml": compose(name, platform, start)}


def dockerfile(base: str, platform: Platform, copies: Mapping[str, str], start: Start, labels: Mapping[str, str]) -> str:
    """The text; `copies` are folders of the context and where they go. Raises InvalidInput for what no Dockerfile can hold."""
    if not _BASE.fullmatch(base):
        raise InvalidInput(f"{base[:120]!r} cannot be the base of a Dockerfile", hint="name an image in a registry: python:3.12-slim")
    lines = [f"FROM --platform={platform} {base}"]  # what is copied below was chosen for it
    lines += [f"COPY {_array((source, to))}" for source, to in sorted(copies.items())]
    lines += [f"ENV {_pair(name, value)}" for name, value in start.environment.items()]
    lines += [f"LABEL {_pair(name, value)}" for name, value in sorted(labels.items())]
    lines += [f"USER {NOBODY}", f"WORKDIR {start.folder}", f"EXPOSE {start.port}", "STOPSIGNAL SIGTERM"]
    if start.health:
        lines.append(f"HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD {_array(start.health)}")
    lines += [f"ENTRYPOINT {_array(start.entrypoint)}", f"CMD {_array(start.command)}"]
    return "\n".join(lines) + "\n"


def compose(name: str, platform: Platform, start: Start) -> bytes:
    """A compose file of one service, with what the image expects: nobody's user, a read-only root, time to drain."""
    service: dict[str, Any] = {
        "build": ".",
        "image": name,
        "platform": str(platform),
        "user": NOBODY,
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108  # inside the container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "ports": [f"127.0.0.1:{start.port}:{start.port}"],
        "stop_grace_period": "35s",
        "restart": "unless-stopped",
    }
    return yaml_text({"services": {re.sub(r"[^a-z0-9]+", "-", name.partition(":")[0].lower()).strip("-"): service}})


def context(parts: Sequence[Part]) -> tuple[dict[str, bytes | Path], dict[str, str]]:
    """The files of the context by path, and which of its folders go where."""
    files: dict[str, bytes | Path] = {}
    for part in parts:
        found = part.files()
        files |= {path: _followed(content, found) for path, content in found.items()}
    tops = sorted({PurePosixPath(path).parts[0] for path in files})
    return files, {f"{top}/": f"/{top}/" for top in tops}


def _followed(content: Content, files: Files) -> bytes | Path:
    """A link's own content: a context has no second names."""
    return _followed(files[content.to], files) if isinstance(content, Link) else content


def _array(words: Sequence[str]) -> str:
    for word in words:
        _check(word)
    return json.dumps(list(words))


def _pair(name: str, value: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name[:120]!r} cannot be a name in a Dockerfile", hint="use letters, digits, '_', '.' and '-'")
    _check(value)
    escaped = _ESCAPED.sub(lambda found: f"\\{found[0]}", value)
    return f'{name}="{escaped}"'


def _check(value: str) -> None:
    if _CONTROL.search(value):
        raise InvalidInput(f"{value[:120]!r} cannot stand in a Dockerfile", hint="it holds a line break or another control character")

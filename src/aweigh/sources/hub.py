"""Model hubs with Hugging Face's HTTP interface: `hf://OWNER/NAME[@REVISION][/FILE]`, the revision also `refs/pr/NUMBER`. The commit that a revision means is kept as the origin."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from aweigh.core.errors import InvalidFile, InvalidInput, NotFound
from aweigh.sources.terms import Budget, Fetched, Terms, inside
from aweigh.sources.web import Web

_ADDRESS: Final = re.compile(
    r"hf://(?P<owner>[A-Za-z0-9][\w.-]{0,95})/(?P<name>[A-Za-z0-9][\w.-]{0,95})"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]{1,100}|(?:[\w.-]|%2[Ff]){1,300}))?(?:/(?P<path>[^#?%]{1,400}))?",
    re.ASCII,
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}", re.ASCII)
_ANSWER_BYTES: Final = 8 * 1024 * 1024
_SAFE: Final = ".safetensors"
_OTHER_WEIGHTS: Final = (
    ".bin",
    ".h5",
    ".msgpack",
    ".ot",
    ".onnx",
    ".onnx_data",
    ".tflite",
    ".gguf",
    ".pt",
    ".pth",
    ".pb",
    ".mlpackage",
    ".xml",
    ".ckpt",
)
"""Further forms of the same weights, which need not come where there are safetensors."""


class _File(msgspec.Struct, frozen=True):
    name: str = msgspec.field(name="rfilename")


class _Model(msgspec.Struct, frozen=True):
    sha: str
    siblings: tuple[_File, ...] = ()


def fetch_hub(text: str, folder: Path, terms: Terms) -> Fetched:
    """A model's folder, or one file or subfolder of it. Raises InvalidInput, NotFound, TooLarge, Unauthenticated, …"""
    found = _ADDRESS.fullmatch(text)
    revision = unquote((found["revision"] if found else None) or "main")
    if found is None or any(part in {"", ".", ".."} for part in revision.split("/")):
        raise InvalidInput(
            f"{text[:120]!r} is no model of a hub",
            hint="write hf://OWNER/NAME, hf://OWNER/NAME@REVISION or hf://OWNER/NAME/FILE; a slash in a revision is %2F, but for @refs/pr/NUMBER",
        )
    repository, path = f"{found['owner']}/{found['name']}", (found["path"] or "").strip("/")
    web = Web(terms, token=terms.hub_token, token_for=terms.hub)
    hub = terms.hub.rstrip("/")
    try:
        data = web.document(f"{hub}/api/models/{repository}/revision/{quote(revision, safe='')}", limit=_ANSWER_BYTES)
        model = msgspec.json.decode(data, type=_Model)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidFile(f"{hub} answered what is no model: {error}", hint="check the setting hub") from error
    if not _COMMIT.fullmatch(model.sha):
        raise InvalidFile(f"{hub} names no commit for {repository}", hint="check the setting hub")
    wanted = _wanted([each.name for each in model.siblings], path)
    if not wanted:
        raise NotFound(
            f"{repository} has no file {path!r} at {model.sha[:12]}" if path else f"{repository} has no files", hint="check the address"
        )
    budget = Budget(terms)
    for at, name in enumerate(wanted):
        place = inside(folder, [found["name"], *name.split("/")])
        terms.progress(f"fetching {name}", at, len(wanted))
        web.download(f"{hub}/{repository}/resolve/{model.sha}/{quote(name)}", place, budget)
    root = folder / found["name"]
    return Fetched(path=root / path if path else root, origin=f"hf://{repository}@{model.sha}" + (f"/{path}" if path else ""))


def _wanted(names: list[str], path: str) -> list[str]:
    if path:
        return [name for name in names if name == path or name.startswith(f"{path}/")]
    plain = [name for name in names if not name.startswith(".")]
    if not any(name.endswith(_SAFE) for name in plain):
        return plain
    return [name for name in plain if not name.endswith(_OTHER_WEIGHTS)]

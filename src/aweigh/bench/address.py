"""A URL to what is asked there: which server, which dialect, which model. Opens no connection."""

import re
from typing import Final, Literal
from urllib.parse import quote, unquote, urlsplit

import msgspec

from aweigh.bench.fetch import SERVICE
from aweigh.bench.plan import Target
from aweigh.core.errors import InvalidSetting

Dialect = Literal["open-inference-rest", "open-inference-grpc", "predict", "raw"]
_SCHEMES: Final[dict[str, tuple[Literal["http", "grpc"], bool]]] = {
    "http": ("http", False),
    "https": ("http", True),
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
}
_MODEL: Final = re.compile(r"(?P<base>.*)/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/infer)?")
_PREDICT: Final = re.compile(r"(?P<base>.*)/predict/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?")
_CALL: Final = re.compile(r"/(?P<model>[^/:]+)(?:(?:/versions/|:)(?P<version>[^/:]+))?")
_PLAIN: Final = "/%:@!$&'()*+,;=~"
"""What RFC 3986 allows in a path as it is."""
_HINT: Final = "write it like http://127.0.0.1:8080/v2/models/NAME, http://127.0.0.1:8080/predict/NAME or grpc://127.0.0.1:8080/NAME"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL says. `target.path` is where the load goes; `model_path` is where the server describes the model, if it does."""

    target: Target
    dialect: Dialect
    model: str = ""
    version: str = ""
    base: str = ""
    """What stands before /v2 and /predict."""
    model_path: str = ""


def parse_url(url: str, *, headers: tuple[tuple[str, str], ...] = (), ca_file: str = "") -> Address:
    """Read a URL. Raises InvalidSetting naming the part that is wrong."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidSetting(f"{url[:200]!r} is not a URL: {error}", hint=_HINT) from error
    if parts.scheme not in _SCHEMES or not host or any(character.isspace() for character in url):
        raise InvalidSetting(f"{url[:200]!r} is not a URL of an inference server", hint=_HINT)
    if not host.isascii():
        raise InvalidSetting(f"{host[:100]!r} is not a host name in ASCII", hint="write an international name in its xn-- form")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidSetting("the URL holds a user or a fragment", hint="give a key with --api-key-file, or --header 'authorization: …'")
    protocol, tls = _SCHEMES[parts.scheme]
    path = parts.path.rstrip("/")
    target = Target(protocol=protocol, host=host, port=port or (443 if tls else 80), path=path, tls=tls, ca_file=ca_file, headers=headers)
    return _grpc(url, target, path) if protocol == "grpc" else _rest(target, path, parts.query)


def _grpc(url: str, target: Target, path: str) -> Address:
    found = _CALL.fullmatch(path)
    if found is None:
        raise InvalidSetting(f"{url[:200]!r} names no model", hint=_HINT)
    return Address(
        target=msgspec.structs.replace(target, path=f"{SERVICE}/ModelInfer"),
        dialect="open-inference-grpc",
        model=unquote(found["model"]),
        version=unquote(found["version"] or ""),
    )


def _rest(target: Target, path: str, query: str) -> Address:
    if not path:
        raise InvalidSetting(f"the URL names a server and no model: {target.address}", hint=_HINT)
    for pattern, dialect, suffix in ((_MODEL, "open-inference-rest", "/infer"), (_PREDICT, "predict", "")):
        found = pattern.fullmatch(path)
        if found is not None and not query:
            route = path.removesuffix("/infer") if suffix else path
            return Address(
                target=msgspec.structs.replace(target, path=quote(route + suffix, safe="/%")),
                dialect="predict" if dialect == "predict" else "open-inference-rest",
                model=unquote(found["model"]),
                version=unquote(found["version"] or ""),
                base=found["base"],
                model_path=quote(route, safe="/%"),
            )
    whole = quote(path, safe=_PLAIN) + (f"?{quote(query, safe=_PLAIN + '?')}" if query else "")
    return Address(target=msgspec.structs.replace(target, path=whole), dialect="raw")

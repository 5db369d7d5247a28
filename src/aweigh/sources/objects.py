"""One object, or all below a prefix, of S3 or Google Cloud Storage: `s3://BUCKET/KEY[#sha256=…]`, by the library obstore.

Credentials, region and endpoint come from where each cloud's own tools look for them.
"""

import contextlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import GCSStore, S3Store

from aweigh.core.errors import Denied, InvalidInput, NotFound, Unauthenticated, Unavailable
from aweigh.sources.terms import MAX_FILES, Budget, Fetched, Terms, check_pin, inside, split_pin, write_counted

_ADDRESS: Final = re.compile(r"(?P<scheme>s3|gs)://(?P<bucket>[a-z0-9][a-z0-9._-]{1,61}[a-z0-9])/(?P<key>[^#?]{1,900})", re.ASCII)
_CHUNK_BYTES: Final = 1024 * 1024


def fetch_object(text: str, folder: Path, terms: Terms) -> Fetched:
    """The object, or a folder of what lies below the prefix. Raises NotFound, Unauthenticated, Denied, TooLarge, InvalidFile, Unavailable."""
    address, pin = split_pin(text)
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise InvalidInput(f"{text[:120]!r} is no object", hint="write s3://BUCKET/KEY or gs://BUCKET/KEY")
    key = found["key"].strip("/")
    budget = Budget(terms)
    with _mapped(address):
        store = (S3Store if found["scheme"] == "s3" else GCSStore)(found["bucket"], **_options(terms))
        if not found["key"].endswith("/") and _exists(store, key):
            place = inside(folder, [key.rpartition("/")[2]])
            digest = _download(store, key, place, budget)
            check_pin(address, pin, digest)
            return Fetched(path=place, origin=f"{found['scheme']}://{found['bucket']}/{key}#sha256={digest}")
        if pin:
            raise InvalidInput(f"{address[:200]} is no object: a digest pins one", hint="leave it out for a prefix")
        root = key.rpartition("/")[2]
        count = 0
        for page in obstore.list(store, prefix=f"{key}/", chunk_size=MAX_FILES):
            for each in page:
                path = str(each["path"])
                if not each["size"] and (path == key or not _exists(store, path)):
                    budget.file()
                    continue  # the marker of a folder: an object of no bytes whose key ends with a slash, which the list leaves out
                relative = path.removeprefix(f"{key}/")
                place = inside(folder, [root, *relative.split("/")])
                terms.progress(f"fetching {relative}")
                _download(store, path, place, budget)
                count += 1
    if not count:
        raise NotFound(f"there is no object and nothing below {address[:200]}", hint="check bucket and key")
    return Fetched(path=folder / root, origin=f"{found['scheme']}://{found['bucket']}/{key}/")


def _exists(store: Any, key: str) -> bool:
    try:
        obstore.head(store, key)
    except FileNotFoundError:
        return False
    return True


def _download(store: Any, key: str, place: Path, budget: Budget) -> str:
    return write_counted(place, (bytes(chunk) for chunk in obstore.get(store, key).stream(min_chunk_size=_CHUNK_BYTES)), budget)


def _options(terms: Terms) -> dict[str, Any]:
    patience = timedelta(seconds=terms.timeout_s)
    client = {"connect_timeout": min(patience, timedelta(seconds=10)), **({"allow_http": True} if terms.plain_http else {})}
    return {"client_options": client, "retry_config": {"max_retries": 5, "retry_timeout": patience}}


@contextlib.contextmanager
def _mapped(place: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"there is nothing at {place[:200]}", hint="check bucket and key") from error
    except UnauthenticatedError as error:
        raise Unauthenticated(f"{place[:200]} wants to know who you are", hint="set the variables of that cloud") from error
    except PermissionDeniedError as error:
        raise Denied(f"you may not read {place[:200]}", hint="set the variables of that cloud") from error
    except (BaseError, ValueError) as error:
        raise Unavailable(f"{place[:200]} cannot be fetched: {str(error)[:300]}", hint="check the variables of that cloud") from error

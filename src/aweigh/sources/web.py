"""Files over HTTPS: hosts are checked and pinned, redirects checked again, bytes counted, digests taken. Loaded by the plug-in table for `https://`.

Nothing of who asks is sent along but a token to the one origin that it is for; no proxy of the environment stands in between.
"""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from aweigh.core.errors import AweighError, Denied, InvalidInput, NotFound, Refused, TooLarge, Unauthenticated, Unavailable, Unsupported
from aweigh.sources.guard import checked_addresses, is_allowed
from aweigh.sources.terms import Budget, Fetched, Terms, check_pin, inside, is_plain, split_pin, write_counted

_CHUNK_BYTES: Final = 1024 * 1024
_MAX_REDIRECTS: Final = 5
_LEAST_BYTES_S: Final = 1000
_CONNECT_S: Final = 10.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_BY_STATUS: Final[dict[int, type[AweighError]]] = {401: Unauthenticated, 403: Denied, 404: NotFound, 410: NotFound}
_ENDING: Final = re.compile(r"\.[A-Za-z0-9]{1,20}\Z", re.ASCII)
Origin = tuple[str, str, int]


def fetch_https(text: str, folder: Path, terms: Terms) -> Fetched:
    """`https://HOST/PATH/FILE[#sha256=…]`. Raises Refused, InvalidFile for another digest, TooLarge, NotFound, Unavailable."""
    url, pin = split_pin(text)
    place = inside(folder, [_name(url)])
    digest = Web(terms).download(url, place, Budget(terms))
    check_pin(url, pin, digest)
    parts = urlsplit(url)
    return Fetched(path=place, origin=f"{parts.scheme}://{parts.netloc}{parts.path}#sha256={digest}")


def _name(url: str) -> str:
    """What the file is called here: the last part of the path; where that is no plain name, "model" with its ending."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    ending = _ENDING.search(name)
    return name if is_plain(name) else f"model{ending[0] if ending else ''}"


class Web:
    """GET and POST of one fetch. `token` is for the origin of `token_for` alone."""

    def __init__(self, terms: Terms, *, token: str = "", token_for: str = "") -> None:
        self._terms = terms
        self._token = token
        self._token_origin = origin_of(token_for) if token else None
        self._context = ssl.create_default_context()
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        if terms.ca_file:
            try:
                self._context.load_verify_locations(terms.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise InvalidInput(f"no certificates can be read from {terms.ca_file}: {error}", hint="it must be a PEM file") from error

    def download(self, url: str, place: Path, budget: Budget, *, headers: Mapping[str, str] | None = None) -> str:
        """Write what is there to `place`, whole or not at all, and give its SHA-256."""
        return write_counted(place, self.chunks(url, headers=headers), budget)

    def document(self, url: str, *, limit: int, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        """A small answer as a whole, to a POST where there is a body. Raises TooLarge."""
        data = b""
        for chunk in self.chunks(url, body=body, headers=headers):
            data += chunk
            if len(data) > limit:
                raise TooLarge(f"{url[:200]} answered more than the {limit} bytes that such an answer may have")
        return data

    def chunks(self, url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Iterator[bytes]:
        """The bytes of an address, redirects followed; the header fields go to the address itself alone. Raises AweighError."""
        for _ in range(_MAX_REDIRECTS + 1):
            with self._answer(url, body, headers or {}) as answer:
                if answer.status in _REDIRECTS and body is None:
                    url, headers = urljoin(url, answer.headers.get("Location", "")), None
                    continue
                if answer.status != 200:
                    kind = _BY_STATUS.get(answer.status, Unavailable if answer.status >= 500 or answer.status == 429 else Unsupported)
                    raise kind(
                        f"{url[:200]} answered {answer.status}", hint="check the address, and that you may read it", status=answer.status
                    )
                yield from self._body(url, answer)
                return
        raise Refused(f"{url[:200]}: more than {_MAX_REDIRECTS} redirects", hint="something is wrong there")

    def _body(self, url: str, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """The body as it comes; a peer that drips is left."""
        since, moved, total = monotonic(), 0, 0
        while True:
            with _mapped(url):
                chunk = answer.read1(_CHUNK_BYTES, decode_content=False)
            if not chunk:
                break
            yield chunk
            moved, total = moved + len(chunk), total + len(chunk)
            if monotonic() - since > self._terms.timeout_s:
                if moved < self._terms.timeout_s * _LEAST_BYTES_S:
                    raise Unavailable(f"{url[:200]} sends less than {_LEAST_BYTES_S} bytes a second", hint="try again later")
                since, moved = monotonic(), 0
        said = answer.headers.get("Content-Length", "")
        if said.isascii() and said.isdigit() and total != int(said):
            raise Unavailable(f"{url[:200]}: {total} bytes came of {said}", hint="the connection broke: try again")

    @contextlib.contextmanager
    def _answer(self, url: str, body: bytes | None, more: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        scheme, host, port = self._checked(url)
        addresses = checked_addresses(host, port, self._terms)
        parts = urlsplit(url)
        headers = {**more, "Host": parts.netloc, "User-Agent": "aweigh", "Accept-Encoding": "identity", "Connection": "close"}
        if self._token_origin == (scheme, host, port):
            headers["Authorization"] = f"Bearer {self._token}"
        patience = urllib3.Timeout(connect=min(_CONNECT_S, self._terms.timeout_s), read=self._terms.timeout_s)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        pool: urllib3.HTTPConnectionPool
        if scheme == "https":
            pool = urllib3.HTTPSConnectionPool(
                addresses[0], port, timeout=patience, retries=False, ssl_context=self._context, server_hostname=host, assert_hostname=host
            )
        else:
            pool = urllib3.HTTPConnectionPool(addresses[0], port, timeout=patience, retries=False)
        try:
            with _mapped(url), _in_time(pool, url, _CONNECT_S + self._terms.timeout_s):
                method = "GET" if body is None else "POST"
                answer = pool.request(
                    method, target, body=body, headers=headers, redirect=False, preload_content=False, decode_content=False
                )
            try:
                yield answer
            finally:
                answer.close()
        finally:
            pool.close()

    def _checked(self, url: str) -> Origin:
        """Scheme, host and port of an address that may be asked at all. Raises Refused."""
        try:
            scheme, host, port = origin_of(url)
        except ValueError as error:
            raise Refused(f"{url[:200]!r} is no address that is followed: {error}", hint="give an https address") from error
        plain = scheme == "http" and self._terms.plain_http and is_allowed(host, port, self._terms)
        if not (scheme == "https" or plain) or not host or "@" in urlsplit(url).netloc:
            raise Refused(
                f"{url[:200]!r}: models are fetched over https alone",
                hint="for a host of your own without TLS: the settings plain_http and private_hosts; credentials do not belong into an address",
            )
        return scheme, host, port


@contextlib.contextmanager
def _in_time(pool: urllib3.HTTPConnectionPool, url: str, limit_s: float) -> Iterator[None]:
    """Cut connections whose answer has not begun in time, since a head that drips keeps every single wait short. Raises Unavailable."""
    made: list[Any] = []
    kind = pool.ConnectionCls

    def opened(*words: Any, **named: Any) -> Any:
        made.append(kind(*words, **named))
        return made[-1]

    late = threading.Event()

    def cut() -> None:
        late.set()
        for connection in made:
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    pool.ConnectionCls = opened  # type: ignore[assignment]  # it is only ever called
    timer = threading.Timer(limit_s, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if late.is_set():  # half a head that ends is taken for a whole one
        raise Unavailable(f"{url[:200]} did not begin to answer in {limit_s:g} s", hint="try again later")


def origin_of(url: str) -> Origin:
    """Scheme, host and port. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


@contextlib.contextmanager
def _mapped(url: str) -> Iterator[None]:
    try:
        yield
    except (HTTPError, OSError) as error:
        raise Unavailable(
            f"{url[:200]} cannot be fetched: {str(error)[:300]}", hint="check the address, and that it can be reached"
        ) from error

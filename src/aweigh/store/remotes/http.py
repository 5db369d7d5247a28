"""HTTP to one registry: TLS, who we are, redirects, other attempts, errors. Used by `registry`; knows no blob and no manifest.

Credentials go to the registry itself and to the token server it names over TLS, never to whoever a redirect leads to. Where the access brings a
check, every host is held to it, and connected to by the addresses that were checked.
"""

import contextlib
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any, Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError, ReadTimeoutError, SSLError

from aweigh.core import errors
from aweigh.core.errors import AweighError
from aweigh.store.remotes.access import Access
from aweigh.store.remotes.address import Address, is_loopback
from aweigh.store.remotes.credentials import Credentials, find_credentials
from aweigh.store.remotes.resume import ATTEMPTS, delay_s, worth_another_try

_HUB: Final = {"docker.io": "registry-1.docker.io"}
_DOCUMENT_BYTES: Final = 64 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_LEAST_BYTES_S: Final = 1000
_MAX_REDIRECTS: Final = 5
_MAX_RETRY_AFTER_S: Final = 60.0
_CONNECT_S: Final = 10.0
_PARAMETER: Final = re.compile(r'([a-z_]+)="([^"]*)"', re.IGNORECASE)
_TOKEN: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)
_BY_STATUS: Final[dict[int, type[AweighError]]] = {
    401: errors.Unauthenticated,
    403: errors.Denied,
    404: errors.NotFound,
    405: errors.Unsupported,
    408: errors.Unavailable,
    409: errors.Conflict,
    413: errors.TooLarge,
    415: errors.Unsupported,
    429: errors.Overloaded,
}


class _Problem(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _Problems(msgspec.Struct, frozen=True):
    errors: tuple[_Problem, ...] = ()


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


Origin = tuple[str, str, int]
Send = Callable[[], Any]
"""Makes the body (bytes, or something to read) anew for each attempt."""


class Web:
    """One registry over HTTP. `request` answers with one of the wanted statuses or raises."""

    def __init__(self, address: Address, access: Access) -> None:
        self._address = address
        self._access = access
        host = _HUB.get(address.host, address.host)
        self.base = f"{'http' if access.plain_http else 'https'}://{host}"
        self._origin = _origin(self.base)
        self._connect_s = min(_CONNECT_S, access.timeout_s)
        self._pool = urllib3.PoolManager(
            ssl_context=_ssl_context(access.ca_file),
            retries=False,
            timeout=urllib3.Timeout(connect=self._connect_s, read=access.timeout_s),
        )
        self._checked: dict[Origin, list[str]] = {}
        self._authorization = ""
        self._credentials: Credentials | None = None
        self._asked = False

    def request(
        self,
        method: str,
        url: str,
        *,
        ok: frozenset[int],
        headers: Mapping[str, str] | None = None,
        send: Send | None = None,
        retry: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request, `url` absolute or below the registry. The caller reads or drops the answer. Raises AweighError."""
        failures = 0
        while True:
            try:
                answer = self._authorised(method, urljoin(self.base, url), dict(headers or {}), send)
                if answer.status in ok:
                    return answer
                raise self._error(method, url, answer)
            except AweighError as error:
                failures += 1
                if not retry or failures >= ATTEMPTS or not worth_another_try(error):
                    raise
                told = error.context.get("retry_after_s")
                self._access.pause(told if isinstance(told, float) else delay_s(failures))

    def document(self, answer: urllib3.BaseHTTPResponse, *, limit: int = _DOCUMENT_BYTES) -> bytes:
        """The whole body of an answer. Raises TooLarge."""
        data = b""
        for chunk in self.chunks(answer):
            data += chunk
            if len(data) > limit:
                answer.close()
                raise errors.TooLarge(f"{self._address} answered with more than the {limit} bytes that such an answer may have")
        return data

    def drop(self, answer: urllib3.BaseHTTPResponse) -> None:
        """Read what is left of an answer that says nothing more, so that its connection can be used again; not without end."""
        with contextlib.suppress(AweighError):
            self.document(answer)

    def chunks(self, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """The body in pieces, as they come; a break, and a peer that drips, raise Unavailable."""
        since, moved = monotonic(), 0
        try:
            while True:
                with self._mapped():
                    chunk = answer.read1(_CHUNK_BYTES, decode_content=False)
                if not chunk:
                    return
                yield chunk
                moved += len(chunk)
                if monotonic() - since > self._access.timeout_s:
                    if moved < self._access.timeout_s * _LEAST_BYTES_S:
                        raise errors.Unavailable(
                            f"{self._address.host} sends less than {_LEAST_BYTES_S} bytes a second", hint="try again later"
                        )
                    since, moved = monotonic(), 0
        finally:
            answer.close()  # a connection whose answer was read to its end is back in the pool by then

    def without_tls(self) -> None:
        """Speak http from now on; the caller has seen that the registry is on this machine."""
        self.base = "http" + self.base.removeprefix("https")
        self._origin = _origin(self.base)

    def _authorised(self, method: str, url: str, headers: dict[str, str], send: Send | None) -> urllib3.BaseHTTPResponse:
        """Send with what the registry wants to know of us; asked for it, once more. Raises Unauthenticated where another server asks."""
        answer, asker = self._follow(method, url, headers, send)
        if answer.status != 401:
            return answer
        challenge = answer.headers.getlist("WWW-Authenticate")
        self.drop(answer)
        if asker != self._origin:
            raise errors.Unauthenticated(
                f"{self._address.host} leads to {asker[1]}, which wants to know who you are",
                hint="only the registry itself is told: something is wrong there, or what it gave has expired",
            )
        self._authorization = self._authorize(challenge)
        return self._follow(method, url, headers, send)[0]

    def _follow(self, method: str, url: str, headers: dict[str, str], send: Send | None) -> tuple[urllib3.BaseHTTPResponse, Origin]:
        """The answer that redirects end at, and who gave it."""
        for _ in range(_MAX_REDIRECTS):
            answer = self._send(method, url, headers, send)
            if answer.status not in (301, 302, 303, 307, 308) or method not in ("GET", "HEAD"):
                return answer, _origin(url)
            self.drop(answer)
            url = self.elsewhere(url, answer.headers.get("Location", ""))
        raise errors.Refused(f"{self._address} redirects more than {_MAX_REDIRECTS} times", hint="something is wrong at the registry")

    def elsewhere(self, url: str, location: str) -> str:
        """The absolute form of a Location, if it is one that may be followed. Raises Refused."""
        target = urljoin(url, location)
        parts = urlsplit(target)
        try:
            origin = _origin(target)
        except ValueError:
            origin = ("", "", 0)
        if not location or parts.scheme not in ("http", "https") or not origin[1] or "@" in parts.netloc:
            raise errors.Refused(
                f"{self._address} leads to {location[:120]!r}, which is no address", hint="something is wrong at the registry"
            )
        if origin != self._origin:
            self._check_stranger(origin)
        return target

    def _check_stranger(self, origin: Origin) -> None:
        """Another server may be followed to over TLS; one on this machine only if the registry is on it too."""
        scheme, host, port = origin
        near = self._address.loopback
        if scheme != "https" and not (near and is_loopback(host)):
            raise errors.Refused(
                f"{self._address} leads to {host} without TLS", hint="the registry must send clients to https addresses", host=host
            )
        if self._access.check is not None:
            self._addresses(origin)
        elif not near and any(map(_inside, _resolve(host, port))):
            raise errors.Refused(
                f"{self._address} leads to {host}, which is this machine or its link", hint="do not trust this registry", host=host
            )

    def _send(self, method: str, url: str, headers: dict[str, str], send: Send | None) -> urllib3.BaseHTTPResponse:
        ours = {"User-Agent": "aweigh", "Accept-Encoding": "identity", **headers}
        if self._authorization and _origin(url) == self._origin:
            ours["Authorization"] = self._authorization
        return self._ask(method, url, ours, send)

    def _ask(self, method: str, url: str, headers: dict[str, str], send: Send | None = None) -> urllib3.BaseHTTPResponse:
        """Send once, to the addresses that were checked where there is a check: one after the other, until one can be connected to."""
        how: dict[str, Any] = {"redirect": False, "preload_content": False, "decode_content": False}
        if self._access.check is None:
            with self._mapped():
                return self._pool.request(method, url, headers=headers, body=send() if send else None, **how)
        origin = scheme, host, port = _origin(url)
        addresses, parts = self._addresses(origin), urlsplit(url)
        target, headers = (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), {"Host": parts.netloc, **headers}
        named = {"server_hostname": host, "assert_hostname": host} if scheme == "https" else {}
        failures = 0
        with self._mapped():
            while True:
                pool = self._pool.connection_from_host(addresses[0], port, scheme, named)
                try:
                    return pool.request(method, target, headers=headers, body=send() if send else None, **how)
                except (NewConnectionError, ConnectTimeoutError):
                    failures += 1
                    addresses.append(addresses.pop(0))  # the next one, from now on
                    if failures >= len(addresses):
                        raise

    def _addresses(self, origin: Origin) -> list[str]:
        """The addresses of a host that may be asked, looked up once: a name that leads elsewhere later leads nobody there. Raises Refused."""
        if self._access.check is not None and origin not in self._checked:
            self._checked[origin] = self._access.check(origin[1], origin[2])
        return self._checked[origin]

    def _authorize(self, challenges: list[str]) -> str:
        """The Authorization that answers a challenge. Raises Unauthenticated."""
        if not self._asked:
            self._credentials, self._asked = find_credentials(self._address.host, self._access), True
        bearer = next((each for each in challenges if each[:7].lower() == "bearer "), None)
        if bearer is not None:
            return f"Bearer {self._token(dict(_PARAMETER.findall(bearer)))}"
        if any(each[:5].lower() == "basic" for each in challenges) and self._credentials:
            return self._credentials.basic
        raise errors.Unauthenticated(
            f"{self._address.host} wants to know who you are",
            hint="give --username and --password-stdin, or run 'docker login' for that registry",
        )

    def _token(self, challenge: dict[str, str]) -> str:
        """A token for our repository alone, whatever the challenge would have us ask for."""
        realm = challenge.get("realm", "")
        url = self.elsewhere(self.base, realm)
        wanted = {"scope": f"repository:{self._address.repository}:pull,push"}
        if challenge.get("scope", "").endswith(":pull"):
            wanted = {"scope": f"repository:{self._address.repository}:pull"}
        if challenge.get("service"):
            wanted["service"] = challenge["service"]
        pairs = list(wanted.items())
        if self._access.mount_from:
            pairs.append(("scope", f"repository:{self._access.mount_from}:pull"))
        url += ("&" if urlsplit(url).query else "?") + urlencode(pairs)
        headers = {"User-Agent": "aweigh", **({"Authorization": self._credentials.basic} if self._credentials else {})}
        answer = self._ask("GET", url, headers)
        if answer.status != 200:
            raise self._error("GET", realm, answer)
        try:
            found = msgspec.json.decode(self.document(answer), type=_Token)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise errors.Unavailable(f"the token server of {self._address.host} answered what is no token") from error
        token = found.token or found.access_token
        if not _TOKEN.fullmatch(token):
            raise errors.Unauthenticated(f"the token server of {self._address.host} gave no token", hint="check user name and password")
        return token

    def _error(self, method: str, url: str, answer: urllib3.BaseHTTPResponse) -> AweighError:
        """What a status that was not wanted means."""
        said = ""
        with contextlib.suppress(AweighError, msgspec.DecodeError, UnicodeDecodeError):
            problems = msgspec.json.decode(self.document(answer), type=_Problems).errors
            said = "; ".join(f"{problem.code} {problem.message}".strip()[:200] for problem in problems[:3])
        status = answer.status
        kind = _BY_STATUS.get(status, errors.Unavailable if status >= 500 else errors.Unsupported)
        where = urlsplit(url).path or url
        text = f"{self._address.host} answered {status} to {method} {where[:200]}" + (f": {said}" if said else "")
        return kind(text, hint=_hint(kind, self._address), status=status, retry_after_s=_retry_after(answer.headers.get("Retry-After", "")))

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Map what the library raises."""
        host = self._address.host
        try:
            yield
        except SSLError as error:
            if "WRONG_VERSION_NUMBER" in str(error) or "UNKNOWN_PROTOCOL" in str(error):
                raise errors.Refused(f"{host} does not speak TLS", hint="for a registry without it: --plain-http", tls="none") from error
            raise errors.Refused(
                f"the certificate of {host} cannot be trusted: {error}", hint="name the authority that signed it: --ca-file FILE"
            ) from error
        except NameResolutionError as error:  # before the timeouts: urllib3 counts a refused connection, and this, among them
            raise errors.Unavailable(f"there is no host {host}, as far as can be known here", hint="check the address") from error
        except NewConnectionError as error:
            why = getattr(error.__cause__, "strerror", None) or str(error).rpartition(": ")[2]
            raise errors.Unavailable(f"{host} cannot be reached: {why}", hint="check the address, and that it runs") from error
        except ConnectTimeoutError as error:
            raise errors.Unavailable(
                f"{host} took no connection in {self._connect_s:g} s", hint="check the address, or try again later"
            ) from error
        except ReadTimeoutError as error:
            raise errors.Unavailable(f"{host} did not answer in {self._access.timeout_s:g} s", hint="try again later") from error
        except (HTTPError, OSError) as error:
            raise errors.Unavailable(f"the connection to {host} broke: {error}", hint="try again") from error


def path_of(repository: str, *parts: str) -> str:
    """`/v2/REPOSITORY/PART/…`, quoted."""
    return "/v2/" + quote(repository, safe="/") + "".join("/" + quote(part, safe=":") for part in parts)


def _ssl_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise errors.InvalidInput(f"no certificates can be read from {ca_file}: {error}", hint="it must be a PEM file") from error
    return context


def _origin(url: str) -> Origin:
    """Scheme, host and port. Raises ValueError for a port that is none."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def _resolve(host: str, port: int) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []  # the connection will say so


def _inside(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or found
    return bool(mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified)


def _hint(kind: type[AweighError], address: Address) -> str:
    return {
        errors.Unauthenticated: "check user name and password (--username, --password-stdin), or run 'docker login' again",
        errors.Denied: f"you may not do this in '{address.repository}': ask whoever keeps the registry",
        errors.NotFound: "check repository and tag",
        errors.Overloaded: "the registry has had too many requests: try again later",
        errors.Unavailable: "the registry is in trouble: try again later",
    }.get(kind, "")


def _retry_after(text: str) -> float | None:
    return min(float(text), _MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() and len(text) < 6 else None

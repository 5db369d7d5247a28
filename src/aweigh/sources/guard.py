"""Which hosts may be asked for a model: public ones, and private ones that a setting names. The address that was checked is the one that is connected to."""

import fnmatch
import ipaddress
import socket

from aweigh.core.errors import Refused, Unavailable
from aweigh.sources.terms import Terms


def checked_addresses(host: str, port: int, terms: Terms) -> list[str]:
    """The host's addresses, all of which may be connected to. Raises Refused, Unavailable where there is no such host."""
    try:
        found = list(dict.fromkeys(str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"there is no host {host[:200]}, as far as can be known here", hint="check the address") from error
    if not is_allowed(host, port, terms):
        for address in found:
            if not _public(address):
                raise Refused(
                    f"{host[:200]} is {address}, on this machine or a private network: no model is fetched from there",
                    hint=f"if you mean it, name it in the setting private_hosts: {host[:200]}",
                    host=host,
                )
    return found


def is_allowed(host: str, port: int, terms: Terms) -> bool:
    """Whether a setting names the host."""
    wanted = (host.lower(), f"{host.lower()}:{port}")
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in terms.private_hosts for name in wanted)


def _public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return _public(str(inner))
        if address in ipaddress.ip_network("64:ff9b::/96"):
            return _public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
    return address.is_global and not address.is_multicast

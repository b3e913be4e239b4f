"""Which URLs may be fetched: a guard against requests a stranger makes us send (SSRF).

A URL that arrived in data (media, a callback, a redirect) is only followed to public hosts.
The names a host resolves to are looked at, every one of them, and the caller connects to an
address that was looked at, so that a second look-up cannot lead elsewhere (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from roomkit.exceptions import UnsafeURLError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

type Resolver = Callable[[str, int], Awaitable[list[str]]]
"""``(host, port) -> addresses``; raises OSError when there are none."""

RESOLVE_SECONDS = 5.0

_LONGEST_URL = 8192
_NAT64 = ip_network("64:ff9b::/96")
_NAT64_LOCAL = ip_network("64:ff9b:1::/48")
_SIX_TO_FOUR = ip_network("2002::/16")
_TEREDO = ip_network("2001::/32")
# Not covered by `is_global` in every Python we support.
_NEVER = (
    ip_network("100.64.0.0/10"),
    ip_network("192.0.0.0/24"),
    ip_network("192.88.99.0/24"),
    ip_network("198.18.0.0/15"),
    ip_network("fec0::/10"),
)


@dataclass(frozen=True, slots=True)
class SafeURL:
    """A URL that was looked at, and the address to connect to.

    Attributes:
        url: As given. Its representation is left out: it may hold a secret.
        host: In lower case, without a dot at the end.
        port: The port.
        address: One of the addresses the host has.
        scheme: ``http`` or ``https``.
    """

    url: str = field(repr=False)
    scheme: str
    host: str
    port: int
    address: str


async def check_url(
    url: str,
    *,
    allow_hosts: Collection[str] = (),
    schemes: Collection[str] = ("https", "http"),
    resolver: Resolver | None = None,
) -> SafeURL:
    """Return where a URL from outside leads, when that is a public host.

    Args:
        url: The URL.
        allow_hosts: Hosts that may be private all the same, such as ``media.internal`` or
            ``127.0.0.1:8080``.
        schemes: The schemes allowed.
        resolver: Looks hosts up; the system's by default.

    Raises:
        UnsafeURLError: It has another scheme, userinfo, no host, or a host with an address
            that is not public; or the host cannot be looked up. The text names the reason,
            not the URL.
    """
    parts = _split(url, schemes)
    host = (parts.hostname or "").rstrip(".").lower()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = await _addresses(host, port, resolver or _system_resolver)
    if not {host, f"{host}:{port}"} & {allowed.lower() for allowed in allow_hosts}:
        for address in addresses:
            if not is_public(address):
                raise UnsafeURLError("the host is not a public one")
    return SafeURL(url, parts.scheme, host, port, addresses[0])


def is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the public internet.

    Addresses that carry an IPv4 one (mapped, NAT64, 6to4, Teredo) are public when both are.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip in _NAT64_LOCAL or ip in _TEREDO:
            return False
        inner = _inner(ip)
        if inner is not None:
            return _global(inner)
    return _global(ip)


def _inner(ip: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address an IPv6 one stands for."""
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip in _SIX_TO_FOUR:
        return ip.sixtofour
    if ip in _NAT64 or int(ip) >> 32 == 0:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


def _global(ip: IPv4Address | IPv6Address) -> bool:
    if ip.is_multicast or ip.is_unspecified or not ip.is_global:
        return False
    return not any(ip in net for net in _NEVER if net.version == ip.version)


def _split(url: str, schemes: Collection[str]) -> SplitResult:
    if len(url) > _LONGEST_URL or any(c <= " " or c == "\x7f" or c == "\\" for c in url):
        raise UnsafeURLError("the url is too long or has characters no url has")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise UnsafeURLError("the url cannot be read") from None
    if parts.scheme not in schemes:
        raise UnsafeURLError("the url has a scheme that is not allowed")
    if not parts.hostname:
        raise UnsafeURLError("the url has no host")
    if parts.username is not None or parts.password is not None:
        raise UnsafeURLError("the url has userinfo")
    return parts


async def _addresses(host: str, port: int, resolver: Resolver) -> list[str]:
    """Return every address of a host, however it is spelled."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        pass
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await resolver(_ascii(host), port)
    except (OSError, UnicodeError):
        raise UnsafeURLError("the host cannot be looked up") from None
    if not found:
        raise UnsafeURLError("the host cannot be looked up")
    return found


def _ascii(host: str) -> str:
    """Return a host name in its ASCII form; dots and digits of other scripts count as such."""
    return host if host.isascii() else host.encode("idna").decode("ascii")


async def _system_resolver(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))

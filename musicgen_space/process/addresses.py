"""Which addresses of the internet may be talked to. Opens no connection itself."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from urllib.parse import urlsplit

__all__ = [
    "Origin",
    "in_url",
    "is_loopback",
    "is_public",
    "own_address",
    "without_mapping",
]

_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291, section 2.4
_SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056: carries an IPv4 address
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_NAME = re.compile(r"[0-9A-Za-z]([0-9A-Za-z._-]*[0-9A-Za-z])?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """The scheme, host and port of a URL, in one spelling, so that two can be compared."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of ``url``; raises ``ValueError``, which does not show the URL.

        Refused: other schemes than http and https, no host, a user name or password, and
        characters that programs read differently (backslashes, spaces, control characters,
        hosts that are not ASCII).
        """
        if any(character <= " " or character in "\\\x7f" for character in url):
            raise ValueError("it has characters that no address has")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("it cannot be read") from None
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in _DEFAULT_PORTS or not host:
            raise ValueError("it is no http or https address")
        if not host.isascii():
            raise ValueError("its host is not written in ASCII")
        if "@" in parts.netloc:
            raise ValueError("it has a user name or password in it")
        return cls(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme])

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine by its very spelling; asks no name server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or a loopback address."""
    if host.lower() == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return without_mapping(ip).is_loopback


def own_address(text: str) -> str:
    """An address of this machine to listen on, or a name of it, in one spelling.

    IPv6 may have the brackets that it has in URLs. Raises ``ValueError`` for what is neither.
    """
    bracketed = text.startswith("[") and text.endswith("]")
    host = text[1:-1] if bracketed else text
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        if _NAME.fullmatch(text):
            return text
        raise
    if "%" in host or (bracketed and ip.version == 4):
        raise ValueError("it is not an address on its own")
    return str(ip)


def in_url(host: str) -> str:
    """A host as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def without_mapping(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address spells (RFC 4291, 2.5.5.2), else the address."""
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet and to nobody's inner network."""
    ip = ipaddress.ip_address(address)
    inner = ip if isinstance(ip, IPv4Address) else _ipv4_inside(ip)
    if inner is not None:
        return inner.is_global and not inner.is_multicast and not inner.is_reserved
    return ip in _GLOBAL_UNICAST and ip.is_global and ip not in _SIX_TO_FOUR


def _ipv4_inside(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None

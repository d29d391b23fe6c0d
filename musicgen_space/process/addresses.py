"""Which network addresses may be connected to. Opens no connections itself."""

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
    """The scheme, host and port of a URL, normalised for comparison."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of ``url``; raises ``ValueError``, which does not show the URL.

        Refused: schemes other than http and https, no host, credentials, and characters that
        parsers disagree about (backslashes, spaces, control characters, non-ASCII hosts).
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
        """Whether the host is literally loopback; does no DNS lookup."""
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
    """A listen address (IP or host name), normalised.

    IPv6 may be in brackets. Raises ``ValueError`` for anything else.
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
    """A host for use in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def without_mapping(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address of an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2), else the address."""
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet, not in a private network."""
    ip = ipaddress.ip_address(address)
    embedded = ip if isinstance(ip, IPv4Address) else _ipv4_inside(ip)
    if embedded is not None:
        return embedded.is_global and not embedded.is_multicast and not embedded.is_reserved
    return ip in _GLOBAL_UNICAST and ip.is_global and ip not in _SIX_TO_FOUR


def _ipv4_inside(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address embeds (mapped or NAT64), if any."""
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None

"""Normalises this machine's proxy settings so that every library here understands them.

Gradio, the hub's client and requests parse the environment differently: an address that one
of them accepts crashes another, and Gradio's requests to itself must bypass the proxy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from musicgen_space.errors import InvalidSetting

__all__ = ["proxy_of", "proxy_variables"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Scheme as written → as every library accepts it. Desktops write socks for SOCKS 5; with an h
# the proxy resolves host names, which some libraries do in any case.
_SCHEMES = {
    "http": "http",
    "https": "https",
    "socks": "socks5h",
    "socks5": "socks5h",
    "socks5h": "socks5h",
}
# A host, an IPv4 network or a domain suffix, with an optional scheme and port.
_EXCEPTION = re.compile(r"([a-z]+://)?[^\s:\[\]]+(:\d{1,5})?")
_BRACKETS = re.compile(r"\[([^]]*)\](:\d+)?")


def proxy_variables(given: Mapping[str, str], own_host: str) -> dict[str, str]:
    """The variables to set for the proxies that ``urllib.request.getproxies`` found.

    Loopback and ``own_host``, where the page is served, bypass them. Raises
    ``InvalidSetting``, without showing passwords, for a proxy that can't be used.
    """
    proxies = {
        f"{kind}_proxy": _address(f"{kind.upper()}_PROXY", given[kind])
        for kind in ("http", "https", "all")
        if given.get(kind, "").strip()
    }
    return {**proxies, "no_proxy": _exceptions(given.get("no", ""), own_host)} if proxies else {}


def proxy_of(url: str) -> str | None:
    """The proxy for ``url`` without credentials; None if there is none."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return _redact(proxy)


def _address(variable: str, proxy: str) -> str:
    """A proxy's address with a scheme that every library supports."""
    scheme, rest = _split_scheme(proxy.strip())
    known = _SCHEMES.get(scheme.lower())
    if known is None or not _has_host(f"http://{rest}"):
        raise InvalidSetting(
            f"{variable} must be the address of an HTTP or a SOCKS 5 proxy, such as "
            f"http://127.0.0.1:3128 or socks5://127.0.0.1:1080, got {_redact(proxy)!r}."
        )
    return f"{known}://{rest}"


def _split_scheme(proxy: str) -> tuple[str, str]:
    """The scheme (default: http) and the rest."""
    scheme, separator, rest = proxy.partition("://")
    return (scheme, rest) if separator else ("http", proxy)


def _redact(proxy: str) -> str:
    """A proxy's address, valid or not, without credentials."""
    scheme, rest = _split_scheme(proxy)
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _has_host(url: str) -> bool:
    """Whether a URL has a host and, if any, a valid port."""
    try:
        parts = urlsplit(url)
        return parts.port != 0 and bool(parts.hostname) and not re.search(r"\s", url)
    except ValueError:
        return False


def _exceptions(given: str, own_host: str) -> str:
    """``no_proxy``: the ``given`` hosts that all libraries can parse, and this machine."""
    hosts = [host.strip() for host in given.split(",")]
    if "*" in hosts:
        return "*"  # requests only understands it alone
    plain = [found[1] if (found := _BRACKETS.fullmatch(host)) else host for host in hosts]
    return ",".join(dict.fromkeys([*filter(_is_parsable, plain), *_LOOPBACK, own_host]))


def _is_parsable(host: str) -> bool:
    """Whether httpx can parse ``host``; it crashes on IPv6 networks, for one."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.isascii() and _EXCEPTION.fullmatch(host) is not None
    return True

"""The proxies of this machine, spelt so that every library here understands them.

Gradio, the hub's client and requests read them from the environment, each in its own way: an
address that one of them knows ends the program in another, and of Gradio's own calls to
itself, which come before the page is there, none arrives through a proxy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from musicgen_space.errors import InvalidSetting

__all__ = ["proxy_for", "proxy_variables"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# As it is written → as every library takes it. Desktops write socks for SOCKS 5, and with an
# h the proxy finds the servers, as some libraries have it do in any case.
_SCHEMES = {
    "http": "http",
    "https": "https",
    "socks": "socks5h",
    "socks5": "socks5h",
    "socks5h": "socks5h",
}
# A host, an IPv4 network or a part of a name, perhaps with a scheme and a port.
_EXCEPTION = re.compile(r"([a-z]+://)?[^\s:\[\]]+(:\d{1,5})?")
_BRACKETS = re.compile(r"\[([^]]*)\](:\d+)?")


def proxy_variables(given: Mapping[str, str], own_host: str) -> dict[str, str]:
    """The variables to set for the proxies that ``urllib.request.getproxies`` has found.

    Neither loopback nor ``own_host``, where the page is served, is reached through any.
    Raises ``InvalidSetting`` for one that can't be used; its text shows no password.
    """
    proxies = {
        f"{kind}_proxy": _address(f"{kind.upper()}_PROXY", given[kind])
        for kind in ("http", "https", "all")
        if given.get(kind, "").strip()
    }
    return {**proxies, "no_proxy": _exceptions(given.get("no", ""), own_host)} if proxies else {}


def proxy_for(url: str) -> str | None:
    """The proxy that leads to ``url``, without user and password; None if there is none."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return _shown(proxy)


def _address(variable: str, proxy: str) -> str:
    """A proxy's address with a scheme that every library knows."""
    scheme, rest = _parted(proxy.strip())
    known = _SCHEMES.get(scheme.lower())
    if known is None or not _has_host(f"http://{rest}"):
        raise InvalidSetting(
            f"{variable} must be the address of an HTTP or a SOCKS 5 proxy, such as "
            f"http://127.0.0.1:3128 or socks5://127.0.0.1:1080, got {_shown(proxy)!r}."
        )
    return f"{known}://{rest}"


def _parted(proxy: str) -> tuple[str, str]:
    """The scheme, and what comes after it."""
    scheme, separator, rest = proxy.partition("://")
    return (scheme, rest) if separator else ("http", proxy)


def _shown(proxy: str) -> str:
    """A proxy's address without user and password, however broken it is."""
    scheme, rest = _parted(proxy)
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _has_host(url: str) -> bool:
    """Whether a URL has a host, and a port only if it is one."""
    try:
        parts = urlsplit(url)
        return parts.port != 0 and bool(parts.hostname) and not re.search(r"\s", url)
    except ValueError:
        return False


def _exceptions(given: str, own_host: str) -> str:
    """What is reached directly: what is ``given``, as far as all can read it, and this machine."""
    hosts = [host.strip() for host in given.split(",")]
    if "*" in hosts:
        return "*"  # with others beside it, requests would not understand it
    plain = [found[1] if (found := _BRACKETS.fullmatch(host)) else host for host in hosts]
    return ",".join(dict.fromkeys([*filter(_is_readable, plain), *_LOOPBACK, own_host]))


def _is_readable(host: str) -> bool:
    """Whether httpx takes ``host``; over networks of IPv6, for one, it ends with an error."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.isascii() and _EXCEPTION.fullmatch(host) is not None
    return True

"""Fetching the file that an answer points to, without trusting the address.

The URL comes from a server's answer, so it could point into the network this program
runs in. Only https is followed, only to public addresses, without the key; the name is
resolved once and the connection goes to the very addresses that were checked, so that they
cannot change in between (DNS rebinding). Each redirect is checked in the same way.

Where the environment has a proxy for the URL, names are resolved by the proxy, often the only
one who can: then what is checked here is the URL with its host as it is spelled, and which
networks a name may lead to is for the proxy's own rules.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from itertools import chain, cycle, zip_longest
from urllib.parse import urljoin

from musicgen_space.backends.segmind.http import (
    NoResponse,
    PinnedAdapter,
    Response,
    Timeouts,
    exchange,
    has_proxy,
    open_session,
)
from musicgen_space.backends.segmind.responses import check_whole
from musicgen_space.errors import UntrustedUrl, UnusableResult
from musicgen_space.process.addresses import Origin, in_url, is_loopback, is_public

__all__ = ["download"]

_MAX_REDIRECTS = 3
_RETRIES = 4
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def download(
    url: str, *, loopback_allowed: bool, timeouts: Timeouts, pause: Callable[[float], None]
) -> Response:
    """The file at ``url``, at most 64 MiB; raises ``UntrustedUrl`` or ``UnusableResult``.

    ``loopback_allowed`` also lets http and this machine's own addresses pass; it is for
    when the API itself is served from here. The environment's proxy is used where there is
    one for ``url``, but never for this machine's own addresses.
    """
    for _ in range(1 + _MAX_REDIRECTS):
        answer = _fetch(url, loopback_allowed, timeouts, pause)
        if answer.status not in _REDIRECTS:
            break
        url = _redirected(url, answer.headers.get("location", ""))
    else:
        raise UntrustedUrl(f"The result's address redirects more than {_MAX_REDIRECTS} times.")
    if not answer.ok:
        raise UnusableResult(f"The finished file could not be fetched: HTTP {answer.status}.")
    check_whole(answer)
    return answer


def _fetch(
    url: str, loopback_allowed: bool, timeouts: Timeouts, pause: Callable[[float], None]
) -> Response:
    """One URL, asked again when it fails in is_transient; redirects are answers too."""
    origin = _trusted_origin(url, loopback_allowed)
    environment = not origin.loopback
    proxied = environment and has_proxy(url)
    addresses = _trusted_addresses(origin, loopback_allowed, only_literal=proxied)
    for delay, address in zip((*timeouts.retries(_RETRIES), None), cycle(addresses or [""])):
        adapter = None if proxied else PinnedAdapter(origin.host, address)
        with open_session(None, proxies=environment, adapter=adapter) as session:
            host = {"Host": _host_header(origin)}
            outcome = exchange(
                session, "GET", url, wait=timeouts.lookup, timeouts=timeouts, headers=host
            )
        if isinstance(outcome, Response) and not outcome.is_transient:
            return outcome
        if delay is not None:
            pause(delay)
    if isinstance(outcome, NoResponse):
        raise UnusableResult(f"The finished file could not be fetched: {outcome.why}.")
    return outcome


def _redirected(url: str, location: str) -> str:
    if not location:
        raise UntrustedUrl("The result's address redirects to nowhere.")
    try:
        return urljoin(url, location)
    except ValueError:
        raise UntrustedUrl("The result's address redirects to one that cannot be read.") from None


def _trusted_origin(url: str, loopback_allowed: bool) -> Origin:
    try:
        origin = Origin.of(url)
    except ValueError as error:
        raise UntrustedUrl(f"The result's address is not trusted: {error}.") from None
    if origin.scheme != "https" and not loopback_allowed:
        raise UntrustedUrl("The result's address is not trusted: it is not https.")
    return origin


def _trusted_addresses(origin: Origin, loopback_allowed: bool, *, only_literal: bool) -> list[str]:
    """The IP addresses of the host, in the order to try them; an inner one is not trusted.

    ``only_literal`` looks no name up: an address is itself in any spelling, a name has none.
    """
    flags = socket.AI_NUMERICHOST if only_literal else 0
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as error:
        if only_literal and isinstance(error, OSError) and ":" not in origin.host:
            return []
        raise UnusableResult("The finished file's server cannot be found.") from None
    addresses = [*dict.fromkeys(str(entry[4][0]) for entry in found)]
    for address in addresses:
        if not (is_public(address) or (loopback_allowed and is_loopback(address))):
            raise UntrustedUrl("The result's address is not trusted: it is in a private network.")
    # IPv6 and IPv4 in turns: all of one of them may lead nowhere.
    first = [address for address in addresses if (":" in address) == (":" in addresses[0])]
    others = [address for address in addresses if address not in first]
    return [*filter(None, chain.from_iterable(zip_longest(first, others)))]


def _host_header(origin: Origin) -> str:
    return f"{in_url(origin.host)}:{origin.port}"

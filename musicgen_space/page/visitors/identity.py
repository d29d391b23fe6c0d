"""Whose takes a page may see, and from where it is asked for something.

On one's own machine everybody is its owner. Where others can open the page, each browser
makes a random token, keeps it, and sends it along: whoever knows it is that visitor. Whoever
has signed in is themselves in every browser: their takes are not found by its token.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

import gradio as gr

from musicgen_space.page.gradio_compat import is_by_mcp
from musicgen_space.page.visitors.account import Accounts, Asking, Person
from musicgen_space.process.addresses import without_mapping
from musicgen_space.settings import Settings

__all__ = ["BY_MCP", "OWNER", "Visitors", "address_of", "network_of"]

OWNER = "owner"  # not of a token's shape, so nobody can pass for the owner
BY_MCP = "mcp"  # as Gradio calls it, too

_TOKEN = re.compile(r"[0-9a-f]{48}")  # 192 bits


class Visitors:
    """Knows the visitors of a page from what their browsers send."""

    def __init__(self, settings: Settings) -> None:
        self.strangers = settings.strangers
        self.accounts = Accounts(settings)

    def seen(self, sent: object, asking: Asking) -> object:
        """What was sent, with the person who has signed in, if so: nothing sent can say that."""
        person = self.accounts.person(asking)
        if person is None or not isinstance(sent, Mapping):
            return sent
        return {**sent, "person": person}

    def person_of(self, sent: object) -> Person | None:
        """Who has signed in, of what ``seen`` gave."""
        person = sent.get("person") if isinstance(sent, Mapping) else None
        return person if isinstance(person, Person) else None

    def name_of(self, sent: object) -> str | None:
        """The library's name for whoever sent ``{"visitor": token, …}``; None: for nobody."""
        if not self.strangers:
            return OWNER
        person = self.person_of(sent)
        return self.browser_of(sent) if person is None else person.visitor

    def browser_of(self, sent: object) -> str | None:
        """The library's name for their browser."""
        token = sent.get("visitor") if isinstance(sent, Mapping) else None
        return token if isinstance(token, str) and _TOKEN.fullmatch(token) else None


def address_of(request: gr.Request) -> str:
    """Who a visitor is, as far as allowances and lines go: a session is renewed by a reload.

    MCP calls come from this server itself, with their visitors' headers and without their
    addresses: all of them are one visitor.
    """
    if is_by_mcp(request):
        return BY_MCP
    return network_of(str(request.client.host))


def network_of(peer: str) -> str:
    """A peer's address as that of a visitor: of IPv6 the network counts, which is what a home has.

    Whom a proxy speaks for is believed only of those that ``Settings.proxies`` names; uvicorn
    sees to that.
    """
    try:
        ip = without_mapping(ipaddress.ip_address(peer))
    except ValueError:
        return peer
    return str(ipaddress.ip_network((ip, 64 if ip.version == 6 else 32), strict=False))

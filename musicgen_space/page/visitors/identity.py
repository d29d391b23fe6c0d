"""Whose takes a page may see, and from where it is asked for something.

On one's own machine everybody is its owner. Where others can open the page, each browser
makes a random token, keeps it, and sends it along: whoever knows it is that visitor.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

import gradio as gr

from musicgen_space.page.gradio_compat import is_by_mcp
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

    def name_of(self, sent: object) -> str | None:
        """The library's name for whoever sent ``{"visitor": token, …}``; None: for nobody."""
        if not self.strangers:
            return OWNER
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

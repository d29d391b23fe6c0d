"""Who pays for a hosted take, and whether they may: the same for the page and for programs."""

from __future__ import annotations

import dataclasses
import ipaddress

import gradio as gr

from musicgen_space.allowance import Allowance
from musicgen_space.backends.base import HostedBackend
from musicgen_space.errors import UnusableKey
from musicgen_space.request import Take
from musicgen_space.settings import Settings

__all__ = ["Spending", "is_given", "paid_by"]

_BY_MCP = "mcp"


class Spending:
    """The rules for the owner's key, and what visitors have had of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowance = Allowance(settings.segmind_takes_per_visitor)

    def is_own(self, key: str | None) -> bool:
        """Whether whoever asks spends their own credits, with this key or none."""
        return is_given(key) or not self._settings.strangers

    def check(
        self, backend: HostedBackend, key: str | None, request: gr.Request, remedy: str
    ) -> None:
        """Raise what speaks against making a take now, else note it where it is the owner's.

        ``remedy`` says how a key is given.
        """
        if not backend.has_key:
            raise UnusableKey(f"{backend.label} needs an API key: {remedy}.")
        if not self.is_own(key):
            self._allowance.spend(_address_of(request))

    def without_balance(self, take: Take, key: str | None) -> Take:
        """``take`` as whoever asked with ``key`` may see it: the owner's balance is private."""
        if take.receipt is None or self.is_own(key):
            return take
        return dataclasses.replace(
            take, receipt=dataclasses.replace(take.receipt, credits_left=None)
        )


def is_given(key: str | None) -> bool:
    """Whether there is a key at all."""
    return bool((key or "").strip())


def paid_by(backend: HostedBackend, key: str | None) -> HostedBackend:
    """The backend paid by ``key``, or by the owner's key where none is given."""
    return backend.with_key(key) if key and is_given(key) else backend


def _address_of(request: gr.Request) -> str:
    """Who a visitor is, as far as their allowance goes: a session is renewed by a reload.

    A peer with a public address is the visitor. Anybody else is a proxy, which has noted
    whom it speaks for: the last public address counts, since a visitor can write anything
    before it. Of an IPv6 address the network counts, which is what a home has.

    MCP calls come from this server itself, with their visitors' headers and without their
    addresses: all of them are one visitor.
    """
    if request.headers.get("x-gradio-user") == _BY_MCP:
        return _BY_MCP
    noted = str(request.headers.get("x-forwarded-for", "")).split(",")
    peer = str(request.client.host)
    for address in [peer, *reversed([part.strip() for part in noted])]:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            break
        if ip.is_global:
            return str(ipaddress.ip_network((ip, 64 if ip.version == 6 else 32), strict=False))
    return peer

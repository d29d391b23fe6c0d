"""Who pays for a hosted take, and whether they may: the same for the page and for programs."""

from __future__ import annotations

import dataclasses

import gradio as gr

from musicgen_space.backends.base import HostedBackend
from musicgen_space.errors import UnusableKey
from musicgen_space.page.billing.allowance import Allowance
from musicgen_space.page.visitors.identity import address_of
from musicgen_space.settings import Settings
from musicgen_space.take import Take

__all__ = ["Spending", "is_given", "paid_by"]


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
            self._allowance.spend(address_of(request))

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

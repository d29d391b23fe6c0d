"""Whose takes a page may see.

On one's own machine everybody is its owner. Where others can open the page, each browser
makes a random token, keeps it, and sends it along: whoever knows it is that visitor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from musicgen_space.settings import Settings

__all__ = ["OWNER", "Visitors"]

OWNER = "owner"  # not of a token's shape, so nobody can pass for the owner

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

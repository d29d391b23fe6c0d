"""``Order``: what a client asks for, checked, as the job store and the runner know it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any

from musicgen_space.request import CLIP_LIMITS, MusicRequest

__all__ = ["FIELDS", "Order"]

# What can be asked for of one take.
FIELDS = tuple(
    each.name
    for each in fields(MusicRequest)
    if each.name not in ("model", "variations", *CLIP_LIMITS)
)


@dataclass(frozen=True, slots=True)
class Order:
    """One take for ``account``, as a file of ``format``, which is a key of ``audio.files.FORMATS``.

    ``price`` is in millionths of a credit. ``name`` is how the client names the job, so that it
    is not made again: ``Idempotency-Key``. ``awaited``: nobody asks for it later, so it ends when
    its client goes. ``live``: whoever takes the order makes it at once.
    """

    account: str
    request: MusicRequest
    format: str
    price: int = 0
    name: str | None = None
    awaited: bool = False
    live: bool = False

    @property
    def named(self) -> str | None:
        """A digest of ``name``, for the database."""
        return None if self.name is None else hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def asked(self) -> dict[str, Any]:
        """The request's fields, as JSON."""
        return {name: getattr(self.request, name) for name in FIELDS}

    @property
    def fingerprint(self) -> str:
        """The same for the same wish."""
        wish = [self.asked, self.request.model, self.format, self.live]
        return hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()

    @staticmethod
    def request_of(model: str, asked: dict[str, Any]) -> MusicRequest:
        """The request that a job of the database is about."""
        return MusicRequest(model=model, **asked)

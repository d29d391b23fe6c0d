"""``Order``: what a client asks for, checked, as the job store and the runner know it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from musicgen_space.clip import Clip
from musicgen_space.request import CLIP_LIMITS, MusicRequest

__all__ = ["FIELDS", "Order"]

# What can be asked for of one take, besides clips.
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
    its client goes. ``live``: whoever takes the order makes it at once. ``clips`` are the files of
    the request's clips, by field.
    """

    account: str
    request: MusicRequest
    format: str
    price: int = 0
    name: str | None = None
    awaited: bool = False
    live: bool = False
    clips: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def named(self) -> str | None:
        """A digest of ``name``, for the database."""
        return None if self.name is None else hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def asked(self) -> dict[str, Any]:
        """The request's fields, as JSON, without the clips."""
        return {name: getattr(self.request, name) for name in FIELDS}

    @property
    def fingerprint(self) -> str:
        """The same for the same wish."""
        clips = {name: hashlib.sha256(data).hexdigest() for name, data in self.clips.items()}
        wish = [self.asked, self.request.model, self.format, self.live, clips]
        return hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()

    @staticmethod
    def request_of(model: str, asked: Mapping[str, Any], clips: Mapping[str, Clip]) -> MusicRequest:
        """The request that a job of the database is about."""
        fields: dict[str, Any] = {**asked, **clips}
        return MusicRequest(model=model, **fields)

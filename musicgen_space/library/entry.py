"""``Entry``: a kept take as lists show it; ``Storage``: what becomes of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["Entry", "Storage"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A kept take without its sound.

    ``name`` is the prompt unless the take was renamed. ``duration`` and ``seconds_taken`` are
    in seconds, ``cost`` in credits (None: local or unknown), ``bytes`` is the size of the FLAC
    file, ``created`` is in UTC. Takes of one request share ``batch``. ``peaks`` are up to 120,
    in percent of the highest. ``settings`` is from ``audio.files.settings_of``.
    """

    id: str
    name: str
    prompt: str
    model: str
    backend: str
    seed: int
    duration: float
    seconds_taken: float
    cost: float | None
    created: datetime
    favourite: bool
    stopped: bool
    batch: str
    bytes: int
    peaks: tuple[int, ...]
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Storage:
    """Whether takes are ``lasting``, that is stored where they outlive this machine.

    ``reading``: earlier ones are still being read, and come one after the other. ``failing``: the
    storage does not answer or can't be written, so that new takes are on this machine only.
    ``storing``: what was made or changed is on its way, and may still fail.
    """

    lasting: bool = True
    reading: bool = False
    failing: bool = False
    storing: bool = False

"""What a list of kept takes shows of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["Entry"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A kept take without its sound.

    ``name`` is the prompt unless its owner gave it another one. ``duration`` and
    ``seconds_taken`` are in seconds, ``cost`` in credits (None: made here, or not said),
    ``bytes`` is the size of its FLAC file, ``created`` is in UTC. Takes that were made
    together share ``batch``. ``peaks`` are up to 120, in percent of the loudest.
    ``settings`` is what ``audio.settings_of`` gave.
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

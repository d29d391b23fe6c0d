"""The sound of takes that are still being made, for their players to fetch bit by bit."""

from __future__ import annotations

import base64
import secrets
import threading
from collections import OrderedDict

import numpy as np

from musicgen_space.audio import to_int16

__all__ = ["LiveSound"]

_TAKES_KEPT = 32  # a player may still be fetching when the take is done; 30 s are 2 MB


class LiveSound:
    """Chunks of the latest takes, each take under an unguessable id."""

    def __init__(self) -> None:
        self._takes: OrderedDict[str, list[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def start(self) -> str:
        """Begin a take; → its id. The oldest takes are forgotten."""
        take_id = secrets.token_urlsafe(16)
        with self._lock:
            self._takes[take_id] = []
            while len(self._takes) > _TAKES_KEPT:
                self._takes.popitem(last=False)
        return take_id

    def append(self, take_id: str, samples: np.ndarray) -> int:
        """Add float samples [channels, n]; → how many chunks the take has now."""
        with self._lock:
            chunks = self._takes.get(take_id, [])
            chunks.append(to_int16(samples).T.tobytes())
            return len(chunks)

    def chunk(self, take_id: str, index: int) -> str | None:
        """Chunk ``index`` as base64 of interleaved little-endian int16; None if unknown."""
        with self._lock:
            chunks = self._takes.get(take_id, [])
            if not 0 <= index < len(chunks):
                return None
            return base64.b64encode(chunks[index]).decode("ascii")

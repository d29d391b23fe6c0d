"""Who plays live music: as many as may, each once where there are strangers, and not for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from musicgen_space.errors import LiveFull
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings

__all__ = ["LiveRoom"]


class LiveRoom:
    """Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._most, self._once_each = settings.live_sessions, settings.strangers
        self._playing: list[tuple[str, MusicRequest]] = []
        self._changing = threading.Lock()

    @property
    def requests(self) -> list[MusicRequest]:
        """What is playing."""
        return [request for _, request in self._playing]

    @contextmanager
    def joined(self, visitor: str, request: MusicRequest) -> Iterator[None]:
        """Play during the block; raises ``LiveFull``."""
        mine = visitor, request
        with self._changing:
            if self._once_each and any(each == visitor for each, _ in self._playing):
                raise LiveFull(1, own=True)
            if len(self._playing) >= self._most:
                raise LiveFull(len(self._playing))
            self._playing.append(mine)
        try:
            yield
        finally:
            with self._changing:
                self._playing = [each for each in self._playing if each is not mine]

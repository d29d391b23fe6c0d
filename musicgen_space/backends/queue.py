"""The line before a place where one take is made at a time: ``Turns``, for several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from musicgen_space.backends.base import Waiting
from musicgen_space.backends.turns import Turn, Turns
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings

__all__ = ["Line"]

_LOOK_EVERY = 0.1  # seconds between two looks at whether somebody still wants it


class Line:
    """Whose turn it is makes a take; the others wait, within ``settings``' bounds."""

    def __init__(self, settings: Settings) -> None:
        self._turns = Turns(settings.max_waiting, settings.waiting_each)
        self._moved = threading.Condition()

    @contextmanager
    def joined(self, visitor: str, request: MusicRequest) -> Iterator[Turn]:
        """Stand in line for the length of a ``with``; raises ``QueueFull``."""
        with self._moved:
            turn = self._turns.join(visitor, request.duration * request.variations)
            self._move()
        try:
            yield turn
        finally:
            self.leave(turn)

    def leave(self, turn: Turn) -> None:
        """Let the next one begin, though ``turn``'s ``with`` may not have ended yet."""
        with self._moved:
            self._turns.leave(turn)
            self._move()

    def waited(self, turn: Turn, given_up: Callable[[], bool]) -> Iterator[Waiting]:
        """Wait until it is this one's turn, or it is given up; yields places as they change."""
        shown = 0
        while (place := self._place(turn)) and not given_up():
            if place != shown:
                shown = place
                yield Waiting(place)

    def _move(self) -> None:
        self._turns.next()
        self._moved.notify_all()

    def _place(self, turn: Turn) -> int:
        """0 as soon as it is this one's turn; 1, 2, … if it is not within a moment."""
        with self._moved:
            self._moved.wait_for(lambda: not self._turns.place(turn), _LOOK_EVERY)
            return self._turns.place(turn)

"""``TakeQueue``: a thread-safe ``FairQueue`` for backends that make one take or a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from musicgen_space.backends.base import Waiting
from musicgen_space.backends.fair_queue import FairQueue, Ticket
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings

__all__ = ["Admits", "TakeQueue"]

_POLL_SECONDS = 0.1  # between checks for cancellation


Admits = Callable[[MusicRequest, Sequence[MusicRequest]], bool]


class TakeQueue:
    """Some takes are in progress, others wait, within the limits of ``settings``.

    ``admits`` tells whether a request can be made beside those that are being made; it is asked
    again and again. Without it, one is made at a time.
    """

    def __init__(self, settings: Settings, admits: Admits = lambda _, made: not made) -> None:
        self._fair_queue = FairQueue(
            settings.max_waiting,
            settings.waiting_each,
            each_at_once=settings.made_each,
            admits=lambda ticket, made: admits(ticket.wish, [each.wish for each in made]),
        )
        self._moved = threading.Condition()

    @contextmanager
    def joined(self, visitor: str, request: MusicRequest) -> Iterator[Ticket]:
        """Hold a place in the queue during the block; raises ``QueueFull``."""
        with self._moved:
            seconds = request.duration * request.variations
            ticket = self._fair_queue.join(visitor, seconds, request)
            self._move()
        try:
            yield ticket
        finally:
            self.leave(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Let the next take start, even before ``ticket``'s block ends."""
        with self._moved:
            self._fair_queue.leave(ticket)
            self._move()

    def waited(self, ticket: Ticket, cancelled: Callable[[], bool]) -> Iterator[Waiting]:
        """Wait for the take's start or cancellation; yields the position whenever it changes."""
        shown = 0
        while (place := self._place(ticket)) and not cancelled():
            if place != shown:
                shown = place
                yield Waiting(place)

    def _move(self) -> None:
        while self._fair_queue.next():
            pass
        self._moved.notify_all()

    def _place(self, ticket: Ticket) -> int:
        """0 as soon as the take may start; after a timeout its position."""
        with self._moved:
            self._moved.wait_for(lambda: not self._fair_queue.place(ticket), _POLL_SECONDS)
            self._move()  # more may be admitted by now
            return self._fair_queue.place(ticket)

"""``TakeQueue``: a thread-safe ``FairQueue`` for backends that make one take or a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from musicgen_space.backends.base import Waiting
from musicgen_space.backends.fair_queue import FairQueue, Ticket
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings

__all__ = ["Admits", "Speed", "TakeQueue", "Work", "roughly", "seconds_until_turn"]

_POLL_SECONDS = 0.1  # between checks for cancellation


Admits = Callable[[MusicRequest, Sequence[MusicRequest]], bool]
Speed = Callable[[], float | None]


class TakeQueue:
    """Some takes are in progress, others wait, within the limits of ``settings``.

    ``admits`` tells whether a request can be made beside those that are being made; it is asked
    again and again. Without it, one is made at a time. ``speed`` tells how many seconds of music
    all that are being made get a second, together; None where that isn't known.
    """

    def __init__(
        self,
        settings: Settings,
        admits: Admits = lambda _, made: not made,
        speed: Speed = lambda: None,
    ) -> None:
        self._fair_queue = FairQueue(
            settings.max_waiting,
            settings.waiting_each,
            each_at_once=settings.made_each,
            admits=lambda ticket, made: admits(ticket.wish, [each.wish for each in made]),
        )
        self._speed = speed
        self._progress: dict[Ticket, float] = {}  # seconds of those that are being made
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
            self._progress.pop(ticket, None)
            self._move()

    def progressed(self, ticket: Ticket, seconds: float) -> None:
        """So much of each variation of ``ticket``, which is being made, is there."""
        with self._moved:
            self._progress[ticket] = seconds

    def waited(self, ticket: Ticket, cancelled: Callable[[], bool]) -> Iterator[Waiting]:
        """Wait for the take's start or cancellation; yields what has changed of the wait."""
        shown = None
        while (waiting := self._waiting(ticket)) and not cancelled():
            if waiting != shown:
                shown = waiting
                yield waiting

    def _move(self) -> None:
        while self._fair_queue.next():
            pass
        self._moved.notify_all()

    def _waiting(self, ticket: Ticket) -> Waiting | None:
        """None as soon as the take may start; after a timeout its position."""
        with self._moved:
            self._moved.wait_for(lambda: not self._fair_queue.place(ticket), _POLL_SECONDS)
            self._move()  # more may be admitted by now
            place = self._fair_queue.place(ticket)
            return Waiting(place, self._seconds_until(place)) if place else None

    def _seconds_until(self, place: int) -> int | None:
        """How long until the turn of whoever waits there, if nobody is stopped; in steps."""
        made, speed = self._fair_queue.made(), self._speed()
        if not made or not speed:
            return None
        left = [
            replace(Work.of(each.wish), seconds=each.wish.duration - self._progress.get(each, 0))
            for each in made
        ]
        line = [Work.of(each.wish) for each in self._fair_queue.order()[:place]]
        return roughly(seconds_until_turn(left, line, speed))


@dataclass(frozen=True, slots=True)
class Work:
    """``seconds`` of music that ``model`` has yet to make of each of so many variations."""

    seconds: float
    variations: int = 1
    model: str | None = None

    @classmethod
    def of(cls, request: MusicRequest) -> Work:
        """All that ``request`` asks for."""
        return cls(request.duration, request.variations, request.model)


def seconds_until_turn(made: Sequence[Work], line: Sequence[Work], speed: float) -> float:
    """How long until the last in ``line`` begins, where ``made`` is what is being made.

    Whenever one is done the next begins; for another model, when all are. They share
    ``speed``, in seconds of music a second.
    """
    music = 0.0
    for following in line:
        joins = all(each.model == following.model for each in made)
        end = (min if joins else max)(each.seconds for each in made)
        music += sum(min(each.seconds, end) * each.variations for each in made)
        going_on = [replace(each, seconds=each.seconds - end) for each in made]
        made = [*(each for each in going_on if each.seconds > 0), following]
    return music / speed


def roughly(seconds: float) -> int:
    """As precise as such an estimate can be: steps of 5 s, from 30 s on of 15 s, then of 1 min."""
    step = 5 if seconds < 30 else 15 if seconds < 60 else 60
    return max(step, round(seconds / step) * step)

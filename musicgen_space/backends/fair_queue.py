"""Fair queueing of takes among visitors. No threads, no wall clock, no audio.

Self-clocked fair queueing (Golestani, "A self-clocked fair queueing scheme for broadband
applications", 1994): takes are served in the order in which they would finish if all visitors
were served in parallel at equal rates, each visitor's takes one after another.

- Visitors alternate: those who were served less go first.
- Shorter takes of others go before long ones.
- No starvation: while a visitor's next take waits, each other visitor is served at most its
  length, plus the take they were next with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from musicgen_space.errors import QueueFull

__all__ = ["FairQueue", "Ticket"]


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A queued take; ``length`` is its cost in seconds of music.

    ``came`` is the queue's virtual time at arrival: seconds of music served per visitor. ``wish``
    is what ``FairQueue.admits`` may go by.
    """

    visitor: str
    length: float
    came: float
    wish: Any = None


class FairQueue:
    """A bounded queue shared by visitors.

    ``admits`` tells whether a take may start beside those in progress; one at a time, unless it
    says otherwise. Each visitor has at most ``each_at_once`` in progress. Up to ``most_waiting``
    wait, ``most_each`` of one visitor.
    """

    def __init__(
        self,
        most_waiting: int,
        most_each: int | None = None,
        *,
        each_at_once: int = 1,
        admits: Callable[[Ticket, Sequence[Ticket]], bool] = lambda _, made: not made,
    ) -> None:
        self._most_waiting = most_waiting
        self._most_each = most_waiting if most_each is None else min(most_each, most_waiting)
        self._each_at_once, self._admits = each_at_once, admits
        self._waiting: list[Ticket] = []  # in order of arrival
        self._made: list[Ticket] = []
        self._now = 0.0
        self._given: dict[str, float] = {}  # virtual finish time of each visitor's last take

    def join(self, visitor: str, length: float, wish: Any = None) -> Ticket:
        """Queue a take; raises ``QueueFull`` unless it can start, or there is room to wait."""
        ticket = Ticket(visitor, length, self._now, wish)
        self._waiting.append(ticket)
        starting = self._starting()
        waiting = [each for each in self._waiting if each is not starting]
        own = sum(each.visitor == visitor for each in waiting)
        if ticket in waiting and (len(waiting) > self._most_waiting or own > self._most_each):
            self.leave(ticket)
            if len(waiting) > self._most_waiting:
                raise QueueFull(len(waiting) - 1)
            raise QueueFull(own - 1, own=True)
        return ticket

    def next(self) -> Ticket | None:
        """Start the next take; None if none can start now."""
        ticket = self._starting()
        if ticket is not None:
            self._now = max(self._now, self._end(ticket, self._given))
            self._given[ticket.visitor] = self._end(ticket, self._given)
            self._waiting.remove(ticket)
            self._made.append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Remove a take that is done or cancelled; idempotent."""
        for tickets in (self._waiting, self._made):
            if ticket in tickets:
                tickets.remove(ticket)
        if not any(each.visitor == ticket.visitor for each in (*self._waiting, *self._made)):
            self._given.pop(ticket.visitor, None)

    def order(self) -> list[Ticket]:
        """The waiting takes in the order in which they start if no others arrive."""
        given, ends = dict(self._given), {}
        for ticket in self._waiting:
            ends[ticket] = given[ticket.visitor] = self._end(ticket, given)
        return sorted(self._waiting, key=ends.__getitem__)

    def made(self) -> list[Ticket]:
        """The takes in progress."""
        return [*self._made]

    def place(self, ticket: Ticket) -> int:
        """Position in the queue from 1; 0 for a take that has started or left."""
        return next((at for at, each in enumerate(self.order(), 1) if each is ticket), 0)

    def _starting(self) -> Ticket | None:
        """Who is next, if they may start now; nobody overtakes them then."""
        busy = [ticket.visitor for ticket in self._made]
        free = (each for each in self.order() if busy.count(each.visitor) < self._each_at_once)
        ticket = next(free, None)
        return ticket if ticket and self._admits(ticket, self._made) else None

    def _end(self, ticket: Ticket, given: dict[str, float]) -> float:
        """The virtual finish time of a take, by its visitor's previous one in ``given``."""
        return max(ticket.came, given.get(ticket.visitor, 0.0)) + ticket.length

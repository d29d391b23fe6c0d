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

from dataclasses import dataclass

from musicgen_space.errors import QueueFull

__all__ = ["FairQueue", "Ticket"]


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A queued take; ``length`` is its cost in seconds of music.

    ``came`` is the queue's virtual time at arrival: seconds of music served per visitor.
    """

    visitor: str
    length: float
    came: float


class FairQueue:
    """A bounded queue shared by visitors, each of whom has at most one take in progress.

    Up to ``at_once`` takes are in progress; up to ``most_waiting`` wait, ``most_each`` of one
    visitor.
    """

    def __init__(self, most_waiting: int, most_each: int | None = None, at_once: int = 1) -> None:
        self._most_waiting = most_waiting
        self._most_each = most_waiting if most_each is None else min(most_each, most_waiting)
        self._at_once = at_once
        self._waiting: list[Ticket] = []  # in order of arrival
        self._made: list[Ticket] = []
        self._now = 0.0
        self._given: dict[str, float] = {}  # virtual finish time of each visitor's last take

    def join(self, visitor: str, length: float) -> Ticket:
        """Queue a take; raises ``QueueFull``."""
        waiting = len(self._waiting) + len(self._made) - self._at_once
        own = sum(ticket.visitor == visitor for ticket in (*self._waiting, *self._made))
        if waiting >= self._most_waiting:
            raise QueueFull(waiting)
        if own > self._most_each:
            raise QueueFull(own - 1, own=True)
        ticket = Ticket(visitor, length, self._now)
        self._waiting.append(ticket)
        return ticket

    def next(self) -> Ticket | None:
        """Start the next take; None if none can start now."""
        busy = {ticket.visitor for ticket in self._made}
        free = len(busy) < self._at_once
        ticket = next((each for each in self.order() if free and each.visitor not in busy), None)
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

    def place(self, ticket: Ticket) -> int:
        """Position in the queue from 1; 0 for a take that has started or left."""
        return next((at for at, each in enumerate(self.order(), 1) if each is ticket), 0)

    def _end(self, ticket: Ticket, given: dict[str, float]) -> float:
        """The virtual finish time of a take, by its visitor's previous one in ``given``."""
        return max(ticket.came, given.get(ticket.visitor, 0.0)) + ticket.length

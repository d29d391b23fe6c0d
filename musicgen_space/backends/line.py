"""A line with a bound: one is served, the others wait and know their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from musicgen_space.errors import QueueFull

__all__ = ["Line", "Ticket"]


class Ticket:
    """One place in the line."""


class Line:
    """Whoever is at place 0 is being served; at most ``max_waiting`` others wait."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._tickets: list[Ticket] = []
        self._moved = threading.Condition()

    @contextmanager
    def joined(self) -> Iterator[Ticket]:
        """Stand in line for the length of a ``with``; raises ``QueueFull``."""
        ticket = Ticket()
        with self._moved:
            waiting = len(self._tickets) - 1
            if self._tickets and waiting >= self._max_waiting:
                raise QueueFull(waiting)
            self._tickets.append(ticket)
        try:
            yield ticket
        finally:
            with self._moved:
                self._tickets.remove(ticket)
                self._moved.notify_all()

    def place(self, ticket: Ticket, patience: float) -> int:
        """0 as soon as it is this one's turn; 1, 2, … if it is not within ``patience`` seconds."""
        with self._moved:
            self._moved.wait_for(lambda: self._tickets[0] is ticket, patience)
            return self._tickets.index(ticket)

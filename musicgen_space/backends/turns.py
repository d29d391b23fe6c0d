"""Whose take is made next. Knows visitors, lengths and turns; no threads, no clocks, no music.

As if all visitors' takes were made side by side, each visitor's one after the other and all
visitors equally fast: whose take would be done first then is made first now. (Self-clocked fair
queueing: Golestani, "A self-clocked fair queueing scheme for broadband applications", 1994.)

- Turns go round: who has had much waits for those who have had little.
- Shorter takes of others go before long ones.
- Nobody starves: while a take waits, its visitor's turn come, each other visitor is given at
  most its length, and what they were next with.
"""

from __future__ import annotations

from dataclasses import dataclass

from musicgen_space.errors import QueueFull

__all__ = ["Turn", "Turns"]


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A take in the line: ``length`` is what it costs (seconds of music).

    ``came`` is how far the line was then: seconds of music that each visitor had been given.
    """

    visitor: str
    length: float
    came: float


class Turns:
    """A line with bounds, shared by visitors: of each, one take is made at a time.

    ``at_once`` takes can be made together, ``most_waiting`` wait, of each visitor ``most_each``.
    """

    def __init__(self, most_waiting: int, most_each: int | None = None, at_once: int = 1) -> None:
        self._most_waiting = most_waiting
        self._most_each = most_waiting if most_each is None else min(most_each, most_waiting)
        self._at_once = at_once
        self._waiting: list[Turn] = []  # as they came
        self._made: list[Turn] = []
        self._now = 0.0
        self._given: dict[str, float] = {}  # where each visitor's last turn ends, on that clock

    def join(self, visitor: str, length: float) -> Turn:
        """Wait for a turn; raises ``QueueFull``."""
        waiting = len(self._waiting) + len(self._made) - self._at_once
        own = sum(turn.visitor == visitor for turn in (*self._waiting, *self._made))
        if waiting >= self._most_waiting:
            raise QueueFull(waiting)
        if own > self._most_each:
            raise QueueFull(own - 1, own=True)
        turn = Turn(visitor, length, self._now)
        self._waiting.append(turn)
        return turn

    def next(self) -> Turn | None:
        """The turn that comes now, made from here on; None: nobody's does."""
        busy = {turn.visitor for turn in self._made}
        free = len(busy) < self._at_once
        turn = next((each for each in self.order() if free and each.visitor not in busy), None)
        if turn is not None:
            self._now = max(self._now, self._end(turn, self._given))
            self._given[turn.visitor] = self._end(turn, self._given)
            self._waiting.remove(turn)
            self._made.append(turn)
        return turn

    def leave(self, turn: Turn) -> None:
        """The take is done, or nobody wants it any more; said twice, it counts once."""
        for turns in (self._waiting, self._made):
            if turn in turns:
                turns.remove(turn)
        if not any(each.visitor == turn.visitor for each in (*self._waiting, *self._made)):
            self._given.pop(turn.visitor, None)

    def order(self) -> list[Turn]:
        """Those who wait, in the order in which their turns come if nobody joins."""
        given, ends = dict(self._given), {}
        for turn in self._waiting:
            ends[turn] = given[turn.visitor] = self._end(turn, given)
        return sorted(self._waiting, key=ends.__getitem__)

    def place(self, turn: Turn) -> int:
        """1 for who is next, 2, 3, …; 0 for one that is made, or was."""
        return next((at for at, each in enumerate(self.order(), 1) if each is turn), 0)

    def _end(self, turn: Turn, given: dict[str, float]) -> float:
        """When a turn ends by the line's clock, where its visitor was ``given`` so much."""
        return max(turn.came, given.get(turn.visitor, 0.0)) + turn.length

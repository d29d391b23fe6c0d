"""How many takes each visitor may have with somebody else's key. Kept in memory only."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from musicgen_space.errors import AllowanceSpent

__all__ = ["Allowance"]


class Allowance:
    """At most ``takes`` per visitor within ``seconds``; shared by all of a page's threads."""

    def __init__(
        self, takes: int, seconds: float = 3600, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._takes, self._seconds, self._clock = takes, seconds, clock
        self._lock = threading.Lock()
        self._spent: dict[str, deque[float]] = {}

    def spend(self, visitor: str) -> None:
        """Note one take of ``visitor``; raises ``AllowanceSpent`` when there is none left."""
        with self._lock:
            now = self._clock()
            self._forget(now - self._seconds)
            times = self._spent.get(visitor, deque())
            if len(times) >= self._takes:
                raise AllowanceSpent(self._refusal(now, times))
            times.append(now)
            self._spent[visitor] = times

    def _forget(self, before: float) -> None:
        """Drop what is too old to count, and with it visitors who are gone."""
        for visitor, times in list(self._spent.items()):
            while times and times[0] <= before:
                times.popleft()
            if not times:
                del self._spent[visitor]

    def _refusal(self, now: float, times: deque[float]) -> str:
        own_key = "Enter a Segmind key of your own to go on"
        if not times:
            return f"The owner's key is not for visitors. {own_key}."
        minutes = math.ceil((times[0] + self._seconds - now) / 60)
        return (
            f"You have had {len(times)} takes on the owner's key. {own_key}, or wait {minutes} min."
        )

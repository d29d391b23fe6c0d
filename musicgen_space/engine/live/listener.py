"""Where a listener is, and how fast this machine makes what they hear."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Listener", "Speed"]

_MEASURED_SECONDS = 2.0  # of work, before a speed is told
_FORGET = 0.5  # of what was measured, each time that so much more is there
_REMEMBERED_SECONDS = 8.0
_OLD_NEWS_SECONDS = 0.5  # that pass until a listener's word is here


class Listener:
    """Plays what was told at ``rate`` samples a second, and waits where there is no more.

    ``fetched`` is how many samples they have. Without a ``clock`` they hear at once what they
    have. Whoever says when they ``began`` is believed, within half a second: each hitch of a
    network delays them, and their clock is not this machine's.
    """

    def __init__(self, clock: Callable[[], float] | None, rate: int) -> None:
        self._clock, self._rate = clock, rate
        self._began: float | None = None  # when the first sample would have been heard
        self.fetched = 0
        self.began: float | None = None  # as they say

    @property
    def now(self) -> float:
        """On the clock."""
        return (self._clock or time.monotonic)()

    def position(self, told: int) -> int:
        """Which sample is heard now, if ``told`` of them are there."""
        if self._clock is None:
            return self.fetched
        most = min(told, self.fetched)
        now = self._clock()
        if not most:
            return 0
        if self._began is not None and self.began is not None:
            earliest = self.began - _OLD_NEWS_SECONDS
            self._began = min(max(self._began, earliest), self.began)
        if self._began is None or (now - self._began) * self._rate > most:
            begun = 0 if self._began is None else most
            self._began = now - begun / self._rate
            return begun
        return round((now - self._began) * self._rate)


class Speed:
    """Seconds of sound made per second of work."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._since: float | None = None
        self._worked = self._sound = 0.0

    def tick(self, working: bool) -> None:
        """From now on, until the next tick, the machine is at work on it, or not."""
        now = self._clock()
        if self._since is not None:
            self._worked += now - self._since
        self._since = now if working else None

    def made(self, seconds: float) -> None:
        """So much sound came."""
        self._sound += seconds
        if self._worked > _REMEMBERED_SECONDS:
            self._worked *= _FORGET
            self._sound *= _FORGET

    @property
    def known(self) -> float | None:
        """The speed, once there is enough to tell it by."""
        return self._sound / self._worked if self._worked >= _MEASURED_SECONDS else None

"""How many takes at once the machine keeps up with, as measured while it makes them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["Pace"]

_STRETCH = 4.0  # seconds that are measured; sound comes in chunks of one
_REMEMBERED = 300.0  # seconds: then the machine may have less else to do


class Pace:
    """Seconds of sound per second for each of so many takes: 1 or more keeps up.

    One thread measures, any may ask.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._takes, self._since, self._sound = 0, clock(), 0.0
        self._measured: dict[int, tuple[float, float]] = {}  # takes → the pace, and when

    def made(self, takes: int, seconds: float) -> None:
        """``seconds`` of sound, of all ``takes`` that are being made together, came just now."""
        now = self._clock()
        if takes != self._takes:
            self._takes, self._since, self._sound = takes, now, 0.0
            return
        self._sound += seconds
        if now - self._since >= _STRETCH:
            self._measured[takes] = self._sound / (now - self._since) / takes, now
            self._since, self._sound = now, 0.0

    def speed(self) -> float | None:
        """Seconds of sound a second of all takes together, as measured last; None: not lately."""
        paces = self._known()
        last = max(paces, key=lambda count: self._measured[count][1], default=None)
        return None if last is None else last * paces[last]

    def keeps_up(self, takes: int) -> bool:
        """Whether so many may be made at once: as far as is known, and up to twice as many.

        Where some were too many, fewer would not have had more sound together.
        """
        paces = self._known()
        most = min((count * pace for count, pace in paces.items() if pace < 1), default=math.inf)
        fine = max((count for count, pace in paces.items() if pace >= 1), default=1)
        return takes <= min(most, 2 * fine)

    def _known(self) -> dict[int, float]:
        now = self._clock()
        return {
            count: pace
            for count, (pace, when) in tuple(self._measured.items())
            if now - when < _REMEMBERED
        }

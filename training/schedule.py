"""How far training is, and the learning rate there."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

__all__ = ["Schedule"]


class Schedule:
    """Counts ``steps``, or as many as fit in ``seconds`` if that ends sooner.

    By steps alone, the rates are the same on every machine.
    """

    def __init__(self, steps: int, seconds: float | None = None) -> None:
        self.steps, self._seconds = steps, seconds
        self.step = 0
        self.progress = 0.0  # from 0 to 1

    def __iter__(self) -> Iterator[int]:
        start = time.monotonic()
        while self.progress < 1:
            yield self.step
            self.step += 1
            self.progress = self.step / self.steps
            if self._seconds:
                elapsed = time.monotonic() - start
                self.progress = max(self.progress, elapsed / self._seconds)

    def rate(self, peak: float, *, warm_up: int, last: float = 0.03) -> float:
        """A learning rate: up to ``peak`` in ``warm_up`` steps, then a cosine down to ``last``."""
        rising = min(1.0, (self.step + 1) / warm_up) if warm_up else 1.0
        falling = 0.5 * (1 + math.cos(math.pi * self.progress))
        return peak * rising * (falling * (1 - last) + last)

    def reached(self, step: int) -> bool:
        """Whether ``step`` of the planned ones has come; with less time, it comes sooner."""
        return self.progress * self.steps >= step - 1e-6

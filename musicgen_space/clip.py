"""A stretch of somebody's own sound, to be continued or followed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from musicgen_space.errors import InvalidRequest

__all__ = ["Clip"]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Sound as it was read: float32 in −1 … 1, [channels, samples], at ``sample_rate`` Hz.

    ``name`` says to a person which file it came from, and ``start`` where in it, in seconds.
    """

    samples: np.ndarray
    sample_rate: int
    name: str = "clip"
    start: float = 0.0

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.samples.shape[-1] / self.sample_rate)

    @property
    def digest(self) -> str:
        """A short fingerprint of the sound: which clip it was, without keeping it."""
        return hashlib.sha256(np.ascontiguousarray(self.samples).tobytes()).hexdigest()[:16]

    def cut(self, start: float, end: float) -> Clip:
        """The stretch from ``start`` to ``end`` seconds; raises ``InvalidRequest``."""
        if not 0 <= start < end <= self.duration + 0.01:
            limit = f"must be a stretch within 0 to {self.duration:.2f} seconds"
            raise InvalidRequest("clip", f"{start:g} to {end:g}", limit)
        first, last = round(start * self.sample_rate), round(end * self.sample_rate)
        # A copy: the stretch must not keep the whole in memory.
        return replace(self, samples=self.samples[:, first:last].copy(), start=self.start + start)

    def described(self) -> dict[str, str | float]:
        """What the settings of a take say about it."""
        return {
            "name": self.name,
            "start": round(self.start, 3),
            "seconds": round(self.duration, 3),
            "digest": self.digest,
        }

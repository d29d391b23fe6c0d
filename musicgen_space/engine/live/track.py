"""The sound of one passage as far as it is made and not yet heard."""

from __future__ import annotations

import numpy as np

from musicgen_space.engine.live.passage import Passage
from musicgen_space.engine.scheduler.scheduler import Making, Scheduler

__all__ = ["Track"]


class Track:
    """A passage that ``scheduler`` makes: its ``sound`` [channels, n] that waits to be heard.

    ``first`` says which sample of the passage they begin with: 0 is the first one that is decoded.
    """

    def __init__(self, scheduler: Scheduler, making: Making, channels: int) -> None:
        self._scheduler, self.making = scheduler, making
        self.sound = np.empty((channels, 0), np.float32)
        self.first = 0
        self.made = 0  # samples, heard or not

    @property
    def passage(self) -> Passage | None:
        """Once it is prepared."""
        passage = getattr(self.making, "generation", None)
        return passage if isinstance(passage, Passage) else None

    @property
    def waiting(self) -> int:
        """Samples that wait to be heard."""
        return self.sound.shape[-1]

    def add(self, samples: np.ndarray) -> None:
        """[channels, n] more."""
        self.sound = np.concatenate([self.sound, samples], axis=-1)
        self.made += samples.shape[-1]

    def take(self, count: int) -> np.ndarray:
        """The first ``count`` samples, which are heard now."""
        taken, self.sound = self.sound[:, :count], self.sound[:, count:]
        self.first += count
        return taken

    def replace(self, sound: np.ndarray, first: int) -> None:
        """Have this wait in place of what does; it begins with sample ``first``."""
        self.sound, self.first = sound, first

    def frame(self, samples_per_frame: int) -> int:
        """The first frame of the passage that nobody has heard any of."""
        assert self.passage is not None
        heard = self.passage.decoded_from + -(-self.first // samples_per_frame)
        return min(max(self.passage.decoded_from, heard), self.passage.frames)

    def end(self) -> None:
        """Make no more of it."""
        self._scheduler.cancel(self.making)

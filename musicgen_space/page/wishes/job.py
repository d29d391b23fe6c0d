"""A wish as it was understood: who makes what, and what tells it from other wishes."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from musicgen_space.backends.base import Backend, Update
from musicgen_space.backends.stretch import Stretch, replaced
from musicgen_space.request import RANDOM_SEED, MusicRequest

__all__ = ["Job", "most_at_once"]


@dataclass(frozen=True, slots=True)
class Job:
    """A checked ``request`` for ``backend``; with a ``stretch``, it is for that one."""

    backend: Backend
    request: MusicRequest
    stretch: Stretch | None = None

    def for_stretch(self, stretch: Stretch) -> Job:
        """The same for a stretch of a piece: as many candidates as can be made at once.

        Raises ``InvalidRequest`` where the backend can't continue sound.
        """
        wish = dataclasses.replace(self.request, variations=most_at_once(self.backend))
        request = stretch.request(wish)
        self.backend.check(request)
        return dataclasses.replace(self, request=request, stretch=stretch)

    def updates(self, stop: threading.Event, visitor: str) -> Iterator[Update]:
        """Make it, until it is done or ``stop`` is set; raises ``MusicGenSpaceError``."""
        if self.stretch is None:
            return self.backend.generate(self.request, stop, visitor)
        return replaced(self.backend, self.stretch, self.request, stop, visitor)

    def variations(self) -> Iterator[Job]:
        """Each of its takes as it could have been asked for alone; candidates can't be."""
        for index in range(0 if self.stretch else self.request.variations):
            yield dataclasses.replace(self, request=self.request.variation(index))

    @property
    def fingerprint(self) -> str:
        """The same for what is the same to the last bit; "" where a seed is still to be drawn."""
        if self.request.seed == RANDOM_SEED:
            return ""
        piece = self.stretch and (self.stretch.source.digest, self.stretch.start, self.stretch.end)
        return json.dumps([self.backend.name, self.request.settings(), piece])


def most_at_once(backend: Backend) -> int:
    """How many takes of one wish a backend makes together."""
    return int(backend.limits["variations"].maximum) if "variations" in backend.knobs else 1

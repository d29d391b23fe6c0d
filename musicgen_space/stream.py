"""A take as it is made: ``Stream``, an iterator of its chunks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Self

import numpy as np

from musicgen_space.backends.base import Chunk, Loading, Progress, Update, Waiting
from musicgen_space.errors import Stopped
from musicgen_space.take import Take

__all__ = ["Report", "Stream", "Updates"]

Updates = Generator[Update, None, None]
Report = Callable[[Waiting | Loading | Progress], object]


class Stream(Iterator[np.ndarray]):
    """The chunks of one take while it is made: float32 in −1 … 1, [channels, samples].

    Work begins with the first chunk that is asked for, and goes on between them. Joined, they
    are the samples of ``take``. What can't stream comes in one chunk at its end. A clip that the
    music goes on from is the beginning of it.

    ``close``, the end of a ``with``, or dropping the stream ends the work. One thread at a time
    may use a stream. What goes wrong is raised where it is read: ``BackendError``.
    """

    def __init__(self, updates: Updates, report: Report | None = None) -> None:
        self._known = _Known()
        self._chunks = _chunks(updates, report, self._known)
        self._ahead: list[np.ndarray] = []  # read, but not asked for yet

    def __next__(self) -> np.ndarray:
        return self._ahead.pop() if self._ahead else next(self._chunks)

    @property
    def sample_rate(self) -> int:
        """Of the chunks, in Hz; waits for the first one. Raises ``Stopped`` if there is none."""
        if not self._known.sample_rate:
            self._ahead += itertools.islice(self._chunks, 1)
        if not self._known.sample_rate:
            raise Stopped
        return self._known.sample_rate

    @property
    def take(self) -> Take:
        """The whole take; waits for its end, and then there are no more chunks to come.

        Raises ``Stopped`` if it was ended before there was any sound, or by ``close``.
        """
        for _ in self:
            pass
        if self._known.take is None:
            raise Stopped
        return self._known.take

    def close(self) -> None:
        """End the work, if it goes on; for what was made until then, set ``stop`` instead."""
        self._ahead.clear()
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(slots=True)
class _Known:
    """What a stream has come to know: of its own, since a generator of the stream's would keep it.

    Dropped, that would be collected too late, and the work would go on.
    """

    sample_rate: int = 0
    take: Take | None = None


def _chunks(
    updates: Updates, report: Report | None, known: _Known
) -> Generator[np.ndarray, None, None]:
    with closing(updates):
        for update in updates:
            if isinstance(update, Chunk):
                known.sample_rate = update.sample_rate
                yield update.samples
            elif isinstance(update, Take):
                known.take = update
                if not known.sample_rate:  # it came in one piece
                    known.sample_rate = update.sample_rate
                    yield update.samples
            elif report is not None:
                report(update)

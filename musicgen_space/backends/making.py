"""From pieces of sound to updates and takes, for the backends that run our own engine."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from musicgen_space.audio.resample import check_audible
from musicgen_space.backends.base import Chunk, Progress, Update
from musicgen_space.engine.given import heard
from musicgen_space.errors import (
    BackendError,
    MusicGenSpaceError,
    OutOfMemory,
    is_out_of_memory,
)
from musicgen_space.message import Message
from musicgen_space.request import MusicRequest
from musicgen_space.take import Take

if TYPE_CHECKING:
    from musicgen_space.engine.scheduler.events import Generated

__all__ = ["Maker", "Told", "as_ours", "check_clips", "updates_of"]

log = logging.getLogger(__name__)

_LATELY = 5.0  # seconds that a pace is taken from


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes a take: a backend with a model, which may be an adapter of ``base_model``.

    ``sample_rate`` is in Hz.
    """

    backend: str
    model: str
    base_model: str | None
    sample_rate: int


def check_clips(request: MusicRequest) -> None:
    """Raise ``UnreadableAudio`` for clips of which the model would hear nothing.

    A melody is always mixed to mono; whether ``continue_from`` is depends on the model.
    """
    if request.continue_from is not None:
        check_audible(heard(request.continue_from, request.duration), channels=2)
    if request.melody is not None:
        check_audible(request.melody, channels=1)


class Told:
    """What is told of ``request`` while it is made, from now on.

    Once ``stopped``, its takes are what there is by then; there are none without any sound.
    """

    def __init__(self, request: MusicRequest, maker: Maker, stopped: Callable[[], bool]) -> None:
        self.request, self._maker, self._stopped = request, maker, stopped
        self._started = time.perf_counter()
        self._lately: deque[tuple[float, float]] = deque()  # seconds taken, and made by then
        self._chunks: list[np.ndarray] = []

    def of(self, piece: Generated) -> Iterator[Update]:
        """Chunks and progress."""
        if piece.samples.size:
            self._chunks.append(piece.samples)
            for variation, samples in enumerate(piece.samples):
                yield Chunk(samples, self._maker.sample_rate, variation)
        taken = self._seconds_taken
        yield Progress(
            piece.seconds, self.request.duration, taken, self._pace(taken, piece.seconds)
        )

    def takes(self) -> Iterator[Take]:
        """Once there are no more pieces."""
        whole = np.concatenate(self._chunks, axis=-1) if self._chunks else ()
        wanted = int(self.request.total_seconds * self._maker.sample_rate)
        for variation, samples in enumerate(whole):
            yield Take(
                samples=samples,
                sample_rate=self._maker.sample_rate,
                request=self.request.variation(variation),
                backend=self._maker.backend,
                model=self._maker.model,
                base_model=self._maker.base_model,
                seconds_taken=self._seconds_taken,
                stopped=self._stopped() and samples.shape[1] < wanted,
            )

    def _pace(self, taken: float, made: float) -> float | None:
        """The real-time factor of the last seconds; None before and where all is predicted."""
        self._lately.append((taken, made))
        while self._lately[0][0] < taken - _LATELY:
            self._lately.popleft()
        since, before = self._lately[0]
        settled = taken > _LATELY and made < self.request.duration
        return (made - before) / (taken - since) if settled and made > before else None

    @property
    def _seconds_taken(self) -> float:
        return time.perf_counter() - self._started


def updates_of(
    pieces: Iterable[Generated],
    request: MusicRequest,
    maker: Maker,
    stopped: Callable[[], bool],
) -> Iterator[Update]:
    """What is told of the ``pieces`` of ``request`` while they are made; then the takes."""
    told = Told(request, maker, stopped)
    for piece in pieces:
        yield from told.of(piece)
    yield from told.takes()


def as_ours(error: BaseException) -> MusicGenSpaceError:
    """Any error as one of ours, without the traceback.

    Its frames' variables may hold gigabytes of weights.
    """
    if isinstance(error, MusicGenSpaceError):
        error.__context__ = None
        return error.with_traceback(None)
    if is_out_of_memory(error):
        return OutOfMemory(
            Message(
                "The memory is full. "
                "A shorter length, fewer variations or a smaller model needs less."
            )
        )
    log.error("A take failed", exc_info=error)
    return BackendError(Message("Making the music failed on this machine; its log says why."))

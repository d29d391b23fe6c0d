"""From pieces of sound to updates and takes, for the backends that run our own engine."""

from __future__ import annotations

import logging
import time
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
    from musicgen_space.engine.generate import Generated

__all__ = ["Maker", "as_ours", "check_clips", "updates_of"]

log = logging.getLogger(__name__)


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


def updates_of(
    pieces: Iterable[Generated],
    request: MusicRequest,
    maker: Maker,
    stopped: Callable[[], bool],
) -> Iterator[Update]:
    """Chunks and progress while the ``pieces`` of ``request`` are made; then the takes.

    If ``stopped``, the takes are what there is by then; there are none without any sound.
    """
    started = time.perf_counter()
    chunks: list[np.ndarray] = []
    for piece in pieces:
        if piece.samples.size:
            chunks.append(piece.samples)
            for variation, samples in enumerate(piece.samples):
                yield Chunk(samples, maker.sample_rate, variation)
        yield Progress(piece.seconds, request.duration, time.perf_counter() - started)
    for variation, samples in enumerate(np.concatenate(chunks, axis=-1) if chunks else ()):
        yield Take(
            samples=samples,
            sample_rate=maker.sample_rate,
            request=request.variation(variation),
            backend=maker.backend,
            model=maker.model,
            base_model=maker.base_model,
            seconds_taken=time.perf_counter() - started,
            stopped=stopped() and samples.shape[1] < int(request.total_seconds * maker.sample_rate),
        )


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

"""The backend "This machine": takes are made one after another by a single worker thread.

The thread owns the model. Requests wait in a bounded line; each sees its place, and its
updates travel through a queue of its own, so a slow listener never holds up the music.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from musicgen_space.alphabet import Knows
from musicgen_space.backends.base import (
    Backend,
    Chunk,
    Loading,
    ModelChoice,
    Progress,
    Update,
    Waiting,
)
from musicgen_space.backends.checkpoints import Checkpoints
from musicgen_space.errors import (
    BackendError,
    MusicGenSpaceError,
    OutOfMemory,
    QueueFull,
    is_out_of_memory,
)
from musicgen_space.models import EMBEDDED_MODEL
from musicgen_space.request import MusicRequest, Take
from musicgen_space.settings import Settings

if TYPE_CHECKING:
    from musicgen_space.engine.generate import MusicGen

__all__ = ["LocalBackend"]

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_FEW_WEIGHTS = 100_000_000


class LocalBackend(Backend):
    """AudioCraft's MusicGen checkpoints, run by this project's own engine."""

    name = "local"
    label = "This machine"
    about = "free, private, speed of your hardware"
    knobs = frozenset(MusicRequest.__dataclass_fields__)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._line: list[_Job] = []  # the first one is being made, the others wait
        self._changed = threading.Condition()
        self._closed = False
        self._checkpoints = Checkpoints(settings)  # loaded and used by the worker only
        self._worker = threading.Thread(target=self._work, name="local-backend", daemon=True)
        self._worker.start()

    def models(self) -> list[ModelChoice]:
        """See ``Checkpoints.choices``."""
        return self._checkpoints.choices()

    def reader(self, model: str) -> Knows | None:
        """See ``Checkpoints.reader``."""
        return self._checkpoints.reader(model)

    def warm_up(self) -> None:
        """Start loading the default model, so that the first take need not wait for it."""
        self._join_line(_Job(None, threading.Event()))

    def generate(self, request: MusicRequest, stop: threading.Event) -> Iterator[Update]:
        """See ``Backend.generate``; raises ``QueueFull`` when too many are waiting."""
        job = _Job(request.with_seed_drawn(), stop)
        self._join_line(job)
        shown = 0
        try:
            while not (job.stopped() and self._leave_line(job)):
                try:
                    update = job.updates.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    place = self._place(job)
                    if place != shown and place > 0:
                        shown = place
                        yield Waiting(place)
                    continue
                if isinstance(update, MusicGenSpaceError):
                    raise update
                if update is None:
                    return
                yield update
        finally:
            job.abandoned.set()
            self._leave_line(job)

    def close(self) -> None:
        """Stop what is being made and free the model."""
        with self._changed:
            self._closed = True
            for job in self._line:
                job.abandoned.set()
            self._changed.notify_all()
        self._worker.join()

    # The line.

    def _join_line(self, job: _Job) -> None:
        with self._changed:
            takes = [other for other in self._line if other.request is not None]
            waiting = len(takes) - 1
            if takes and waiting >= self._settings.max_waiting:
                raise QueueFull(waiting)
            self._line.append(job)
            self._changed.notify_all()

    def _leave_line(self, job: _Job) -> bool:
        """Take a job that has not begun out of the line; → whether it was there."""
        with self._changed:
            if job.begun or job not in self._line:
                return False
            self._line.remove(job)
            return True

    def _place(self, job: _Job) -> int:
        """1 for the next one; 0 for the one that is being made."""
        with self._changed:
            return self._line.index(job) if job in self._line else 0

    # The worker thread.

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line or self._closed)
                if self._closed:
                    break
                job = self._line[0]
                job.begun = True
            try:
                self._run(job)
            finally:
                job.updates.put(None)
                with self._changed:
                    self._line.remove(job)
        self._checkpoints.clear()

    def _run(self, job: _Job) -> None:
        try:
            self._make(job)
            return
        except _Stopped:
            return
        except BaseException as error:  # a panic of a library in Rust is no Exception
            failure = _translated(error)
        # Only here is the memory of a failed take free, past the error that refers to it.
        try:
            self._checkpoints.release()
        except Exception:  # after some errors CUDA can't even be asked to
            log.exception("The memory of a failed take could not be freed")
        job.updates.put(failure)

    def _make(self, job: _Job) -> None:
        from musicgen_space.engine.generate import generate

        request = job.request
        name = (request.model if request else None) or EMBEDDED_MODEL
        model = self._model(name, job)
        if request is None:
            return
        started = time.perf_counter()
        chunks: list[np.ndarray] = []
        rate = model.codec.sample_rate
        for piece in generate(model, request, job.stopped):
            if piece.samples.size:
                chunks.append(piece.samples)
                for variation, samples in enumerate(piece.samples):
                    job.updates.put(Chunk(samples, rate, variation))
            elapsed = time.perf_counter() - started
            job.updates.put(Progress(piece.seconds, request.new_seconds, elapsed))
        takes = np.concatenate(chunks, axis=-1) if chunks else ()
        for variation, samples in enumerate(takes):
            job.updates.put(
                Take(
                    samples=samples,
                    sample_rate=rate,
                    request=request.variation(variation),
                    backend=self.name,
                    model=name,
                    seconds_taken=time.perf_counter() - started,
                    stopped=job.stopped() and samples.shape[1] < int(request.total_seconds * rate),
                )
            )

    def _model(self, name: str, job: _Job) -> MusicGen:
        """The checkpoint ``name``, with room for the take; loaded unless it is in memory."""
        import torch

        model = self._checkpoints.get(name, job.report)
        own = isinstance(model.decoder, torch.nn.Module)  # the others have threads of their own
        torch.set_num_threads(self._torch_threads(model.decoder.config.weights if own else 0))
        if job.request is not None:
            self._checkpoints.make_room(job.request, name, model)
        return model

    def _torch_threads(self, weights: int) -> int:
        """How many threads share what torch computes: EnCodec, and a decoder of ``weights``.

        Small matrices are read in microseconds: a second thread gains a tenth on an idle
        machine and costs a factor of three on a busy one, where each waits for the other.
        """
        cores = os.cpu_count() or 1
        if weights < _FEW_WEIGHTS:
            return max(1, cores // 4)
        return self._settings.threads or cores


class _Job:
    """One place in the line; a job without a request only loads the default model."""

    def __init__(self, request: MusicRequest | None, stop: threading.Event) -> None:
        self.request = request
        self.abandoned = threading.Event()
        self.begun = False
        self.updates: queue.SimpleQueue[Update | MusicGenSpaceError | None] = queue.SimpleQueue()
        self._stop = stop

    def stopped(self) -> bool:
        """Whether the listener pressed Stop or went away."""
        return self._stop.is_set() or self.abandoned.is_set()

    def report(self, update: Loading) -> None:
        """Tell the listener what goes on; raises ``_Stopped`` if nobody wants it any more."""
        if self.stopped():
            raise _Stopped
        self.updates.put(update)


class _Stopped(Exception):
    """Raised before or inside a download or a load to end it."""


def _translated(error: BaseException) -> MusicGenSpaceError:
    """What is told to the user: our own errors, and others in words of ours.

    Never with the frames that raised it, whose variables may be gigabytes of weights.
    """
    if isinstance(error, MusicGenSpaceError):
        error.__context__ = None
        return error.with_traceback(None)
    if is_out_of_memory(error):
        return OutOfMemory(
            "The memory is full. A shorter length, fewer variations or a smaller model needs less."
        )
    log.error("A take failed", exc_info=error)
    return BackendError("Making the music failed on this machine; its log says why.")

"""The backend "This machine": a single worker thread makes all takes, several of them at once.

The thread owns the models, and the batch of jobs that one of them makes. A request joins the
batch as soon as it may; until then it waits in a bounded queue. Whoever wants another model
waits until the batch is done, and nobody joins it meanwhile.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from musicgen_space.backends.base import Backend, Loading, ModelChoice, Progress, Update, Waiting
from musicgen_space.backends.local.better_model import better_model
from musicgen_space.backends.local.checkpoints import Checkpoints
from musicgen_space.backends.local.job import Job, Stopped, failure_of
from musicgen_space.backends.local.live_room import LiveRoom
from musicgen_space.backends.local.pace import Pace
from musicgen_space.backends.making import Maker, check_clips
from musicgen_space.backends.queue import TakeQueue
from musicgen_space.backends.upgrade import Upgrade
from musicgen_space.engine.conditioners.alphabet import Knows
from musicgen_space.engine.windows import WINDOW_SECONDS
from musicgen_space.errors import LiveOver, MusicGenSpaceError
from musicgen_space.live import Heard, LiveControls
from musicgen_space.message import Message
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings

if TYPE_CHECKING:
    from musicgen_space.backends.local.batch import Batch
    from musicgen_space.engine.musicgen import MusicGen

__all__ = ["LocalBackend", "torch_threads"]

log = logging.getLogger(__name__)

_FEW_WEIGHTS = 100_000_000


def torch_threads(weights: int, chosen: int = 0) -> int:
    """How many threads share what torch computes: EnCodec, and a decoder of ``weights``.

    Small matrices are read in microseconds: a second thread gains a tenth on an idle
    machine and costs a factor of three on a busy one, where each waits for the other.
    ``chosen``: for larger ones, 0: as many as there are cores.
    """
    cores = os.cpu_count() or 1
    return max(1, cores // 4) if weights < _FEW_WEIGHTS else chosen or cores


class LocalBackend(Backend):
    """AudioCraft's MusicGen checkpoints, run by this project's own engine."""

    name = "local"
    label = Message("This machine")
    about = Message("free, private, speed of your hardware")
    knobs = frozenset(MusicRequest.__dataclass_fields__)
    upgrade: Upgrade

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        if settings.strangers:  # to whom "this machine" is their own
            self.label, self.about = Message("This server"), Message("free; visitors take turns")
        self._pace = Pace()
        self._batch: Batch | None = None  # the worker's
        self._queue = TakeQueue(settings, self._admits, self._pace.speed)
        self._live_room = LiveRoom(settings)
        self.plays_live = settings.live_sessions > 0
        self._jobs: queue.SimpleQueue[Job[Any]] = queue.SimpleQueue()  # for the worker
        self._closed = threading.Event()
        self._checkpoints = Checkpoints(settings)  # its models are the worker's
        self.upgrade = better_model(settings, self._checkpoints)
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
        self._put(Job(None, None, self._closed.is_set))

    def load(self, model: str) -> Iterator[Loading]:
        """Have ``model`` in memory, so that its first take begins at once; tells what goes on.

        Closing the iterator ends a download. Raises ``BackendError``.
        """
        job: Job[Loading] = Job(model, None, lambda: job.left.is_set() or self._closed.is_set())
        self._put(job)
        try:
            yield from job.updates()
        finally:
            job.left.set()

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        """See ``Backend.generate``; raises ``QueueFull`` when too many are waiting.

        Silent clips are refused before they are queued (``UnreadableAudio``).
        """
        check_clips(request)

        def stopped() -> bool:
            return stop.is_set() or job.left.is_set() or self._closed.is_set()

        job: Job[Update] = Job(request.model, request.with_seed_drawn(), stopped)
        with self._queue.joined(visitor, request) as job.ticket:
            yield from self._queue.waited(job.ticket, stopped)
            self._put(job)
            try:
                for update in job.updates():
                    if isinstance(update, Progress):
                        self._queue.progressed(job.ticket, update.seconds_made)
                    yield update
            finally:
                job.left.set()

    def live(
        self, controls: LiveControls, visitor: str = ""
    ) -> Iterator[Waiting | Loading | Heard]:
        """See ``Backend.live``; raises ``LiveFull``, and ``LiveOver`` when its time is up."""
        request = dataclasses.replace(controls.wish.request, duration=WINDOW_SECONDS)
        check_clips(request)
        minutes = self._settings.live_minutes
        over = time.monotonic() + 60 * minutes

        def stopped() -> bool:
            ended = controls.stopped or job.left.is_set() or self._closed.is_set()
            return ended or time.monotonic() > over

        job: Job[Heard | Waiting] = Job(request.model, request, stopped, live=controls)
        with self._live_room.joined(visitor, request):
            self._put(job)
            try:
                yield from job.updates()
            finally:
                job.left.set()
        if time.monotonic() > over:
            raise LiveOver(minutes)

    def close(self) -> None:
        """Stop the takes that are made and a download, and free the models."""
        self._closed.set()
        self.upgrade.close()
        self._put(Job(None, None, self._closed.is_set))  # for a worker that waits for one
        if threading.current_thread() is not self._worker:  # which may be what collects garbage
            self._worker.join()

    def _put(self, job: Job[Any]) -> None:
        self._jobs.put(job)
        if batch := self._batch:
            batch.wake()

    def _admits(self, request: MusicRequest, made: Sequence[MusicRequest]) -> bool:
        """Whether ``request`` can be made beside those that are being made."""
        lives = self._live_room.requests
        if not made and not lives:
            return True
        batch, models = self._batch, {self._name(each.model) for each in (request, *made, *lives)}
        if batch is None or models != {batch.maker.model}:  # it may not be loaded yet
            return False
        takes = sum(each.variations for each in (request, *made))
        return (
            takes <= self._settings.at_once
            and self._pace.keeps_up(takes + len(lives))
            and self._checkpoints.fit_together([request, *made, *lives], batch.model)
        )

    def _name(self, model: str | None) -> str:
        return model or self._checkpoints.default

    # The worker thread.

    def _work(self) -> None:
        held: list[Job[Any]] = []  # until the batch ends
        while not self._closed.is_set() or self._busy:
            job = held.pop(0) if held and not self._busy else self._next_job()
            if job is not None and self._busy and not self._joins(job):
                held.append(job)
                if job.live is not None:
                    job.tell(Waiting(1))
            elif job is not None:
                self._begin(job)
            if self._batch is not None and self._busy:
                self._batch.step()
        self._end_batch()
        self._checkpoints.clear()

    @property
    def _busy(self) -> bool:
        return self._batch is not None and self._batch.busy

    def _next_job(self) -> Job[Any] | None:
        """What is to be done; waits for it while nothing is being made."""
        try:
            return self._jobs.get(block=not self._busy)
        except queue.Empty:
            return None

    def _joins(self, job: Job[Any]) -> bool:
        """Whether the model of the batch is the job's."""
        return self._batch is not None and self._name(job.model) == self._batch.maker.model

    def _begin(self, job: Job[Any]) -> None:
        failure: MusicGenSpaceError | None = None
        job.begun = not job.stopped()
        try:
            if job.begun and self._start(job):
                return
        except Stopped:
            pass
        except BaseException as error:  # a Rust panic is not an Exception
            failure = failure_of(error)
        # Outside the handler, so that the traceback no longer holds the take's memory.
        self._ended(job, failure)

    def _start(self, job: Job[Any]) -> bool:
        """Load the job's model; → whether a take of it is being made now."""
        model = self._model(self._name(job.model), job)
        if job.request is None:
            return False
        self._batch_of(self._name(job.model), model).add(job)
        return True

    def _model(self, name: str, job: Job[Any]) -> MusicGen:
        """The model ``name``, loaded on demand, with memory for the job's take."""
        import torch

        if not self._joins(job):
            self._end_batch()
        model = self._checkpoints.get(name, job.report)
        in_torch = isinstance(model.decoder, torch.nn.Module)  # native decoders have own threads
        weights = model.decoder.config.weights if in_torch else 0
        torch.set_num_threads(torch_threads(weights, self._settings.threads))
        if job.request is not None:
            self._checkpoints.make_room(job.request, name, model)
        return model

    def _batch_of(self, name: str, model: MusicGen) -> Batch:
        from musicgen_space.backends.local.batch import Batch

        if self._batch is None or self._batch.model is not model:
            self._end_batch()
            maker = Maker(self.name, name, model.base, model.codec.sample_rate)
            ahead = self._settings.live_ahead
            self._batch = Batch(maker, model, self._pace, self._ended, ahead)
        return self._batch

    def _end_batch(self) -> None:
        """Let its model go."""
        batch, self._batch = self._batch, None
        if batch is not None:
            batch.close()

    def _ended(self, job: Job[Any], failure: MusicGenSpaceError | None) -> None:
        """Tell the listener; the next take need not wait for them to read it."""
        if failure is not None:
            self._release()
        if job.ticket is not None:
            self._queue.leave(job.ticket)
        job.tell(failure)

    def _release(self) -> None:
        try:
            self._checkpoints.release()
        except Exception:  # after some CUDA errors, every call fails
            log.exception("The memory of a failed take could not be freed")

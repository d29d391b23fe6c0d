"""The backend "This machine": a single worker thread makes one take after another.

The thread owns the model. Requests wait in a bounded queue; each has an update queue of its
own, so a slow listener never blocks generation.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from musicgen_space.backends.base import Backend, Loading, ModelChoice, Update
from musicgen_space.backends.fair_queue import Ticket
from musicgen_space.backends.local.better_model import better_model
from musicgen_space.backends.local.checkpoints import Checkpoints
from musicgen_space.backends.making import Maker, as_ours, check_clips, updates_of
from musicgen_space.backends.queue import TakeQueue
from musicgen_space.backends.upgrade import Upgrade
from musicgen_space.engine.conditioners.alphabet import Knows
from musicgen_space.errors import MusicGenSpaceError
from musicgen_space.message import Message
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings

if TYPE_CHECKING:
    from musicgen_space.engine.generate import MusicGen

__all__ = ["LocalBackend", "torch_threads"]

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1  # between checks for Stop while a model is loaded
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
        self._queue = TakeQueue(settings)
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()  # for the worker
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
        self._jobs.put(_Job(None, None, self._closed.is_set))

    def load(self, model: str) -> Iterator[Loading]:
        """Have ``model`` in memory, so that its first take begins at once; tells what goes on.

        Closing the iterator ends a download. Raises ``BackendError``.
        """
        left = threading.Event()
        job = _Job(model, None, lambda: left.is_set() or self._closed.is_set())
        self._jobs.put(job)
        try:
            yield from (update for update in _updates(job) if isinstance(update, Loading))
        finally:
            left.set()

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        """See ``Backend.generate``; raises ``QueueFull`` when too many are waiting.

        Silent clips are refused before they are queued (``UnreadableAudio``).
        """
        check_clips(request)
        left = threading.Event()

        def stopped() -> bool:
            return stop.is_set() or left.is_set() or self._closed.is_set()

        with self._queue.joined(visitor, request) as ticket:
            yield from self._queue.waited(ticket, stopped)
            job = _Job(request.model, request.with_seed_drawn(), stopped, ticket)
            self._jobs.put(job)
            try:
                yield from _updates(job)
            finally:
                left.set()

    def close(self) -> None:
        """Stop the current take and a download, and free the models."""
        self._closed.set()
        self.upgrade.close()
        self._jobs.put(_Job(None, None, self._closed.is_set))  # for a worker that waits for one
        if threading.current_thread() is not self._worker:  # which may be what collects garbage
            self._worker.join()

    # The worker thread.

    def _work(self) -> None:
        while not self._closed.is_set():
            job = self._jobs.get()
            try:
                job.begun = not job.stopped()
                if job.begun:
                    self._run(job)
            finally:
                if job.ticket is not None:  # don't wait for the listener to read all updates
                    self._queue.leave(job.ticket)
                job.updates.put(None)
        self._checkpoints.clear()

    def _run(self, job: _Job) -> None:
        try:
            self._make(job)
            return
        except _Stopped:
            return
        except BaseException as error:  # a Rust panic is not an Exception
            if not threading.main_thread().is_alive():  # the program ends: no thread can begin
                return
            failure = as_ours(error)
        # Outside the handler, so that the traceback no longer holds the take's memory.
        try:
            self._checkpoints.release()
        except Exception:  # after some CUDA errors, every call fails
            log.exception("The memory of a failed take could not be freed")
        job.updates.put(failure)

    def _make(self, job: _Job) -> None:
        from musicgen_space.engine.generate import generate

        name, request = job.model or self._checkpoints.default, job.request
        model = self._model(name, job)
        if request is None:
            return
        maker = Maker(self.name, name, model.base, model.codec.sample_rate)
        pieces = generate(model, request, job.stopped)
        for update in updates_of(pieces, request, maker, job.stopped):
            job.updates.put(update)

    def _model(self, name: str, job: _Job) -> MusicGen:
        """The model ``name``, loaded on demand, with memory for the job's take."""
        import torch

        model = self._checkpoints.get(name, job.report)
        in_torch = isinstance(model.decoder, torch.nn.Module)  # native decoders have own threads
        weights = model.decoder.config.weights if in_torch else 0
        torch.set_num_threads(torch_threads(weights, self._settings.threads))
        if job.request is not None:
            self._checkpoints.make_room(job.request, name, model)
        return model


class _Job:
    """What the worker is to do with ``model``, None: the default; without a request only load it.

    ``stopped`` tells whether the listener pressed Stop or left.
    """

    def __init__(
        self,
        model: str | None,
        request: MusicRequest | None,
        stopped: Callable[[], bool],
        ticket: Ticket | None = None,
    ) -> None:
        self.model, self.request, self.stopped, self.ticket = model, request, stopped, ticket
        self.begun = False
        self.updates: queue.SimpleQueue[Update | MusicGenSpaceError | None] = queue.SimpleQueue()

    def report(self, update: Loading) -> None:
        """Send the listener an update; raises ``_Stopped`` if the job was cancelled."""
        if self.stopped():
            raise _Stopped
        self.updates.put(update)


def _updates(job: _Job) -> Iterator[Update]:
    """The job's updates until it ends; raises its error, if any."""
    while job.begun or not job.stopped():
        try:
            update = job.updates.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        if update is None:
            return
        if isinstance(update, MusicGenSpaceError):
            raise update
        yield update


class _Stopped(Exception):
    """Raised to abort a download or a load."""

"""Makes the jobs of the database with a backend, several at once, and keeps what is made alive.

One thread renews leases, takes up what other servers have left, and ends what takes too long or is
no longer this server's; the others make.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from musicgen_space.audio.clips import read_clip
from musicgen_space.audio.files import encode, formats_for
from musicgen_space.backends.base import Backend, Update
from musicgen_space.errors import BackendError, DatabaseUnavailable, MusicGenSpaceError, QueueFull
from musicgen_space.server.database import Database, Job
from musicgen_space.server.jobs.bell import Bell
from musicgen_space.server.jobs.order import Order
from musicgen_space.server.jobs.store import Jobs
from musicgen_space.server.metrics import Metrics
from musicgen_space.take import Take

__all__ = ["WENT", "Runner"]

log = logging.getLogger(__name__)

WENT = "The client went away."

_LOOK_SECONDS = 1.0  # between looks for jobs that other servers were given
_PRUNE_SECONDS = 3600.0
_INTERNAL = "The server failed to make the music; its log says why."
_TOO_LONG = "Making the music took longer than this server allows."
_NO_SOUND = "The model made no sound."


class _Ends(threading.Event):
    """Set to end a take, for a reason; None: it is to be made again later."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self.deadline = deadline
        self.reason: str | None = None

    def end(self, reason: str | None) -> None:
        self.reason = reason
        self.set()


class Runner:
    """Makes the jobs in ``database``, and rings ``bell`` for each one that is done.

    ``at_once`` jobs are made at a time, where the backend makes so many. ``seconds`` is the most
    that one may take, ``beat`` is how often leases are renewed, ``models`` how many models the
    backend keeps loaded.
    """

    def __init__(
        self,
        backend: Backend,
        database: Database,
        jobs: Jobs,
        metrics: Metrics,
        *,
        bell: Bell,
        seconds: float,
        at_once: int = 1,
        beat: float = 5.0,
        models: int = 1,
    ) -> None:
        self._backend, self._database, self._jobs = backend, database, jobs
        self._metrics, self._bell, self._seconds, self._beat = metrics, bell, seconds, beat
        self._news, self._closed = threading.Event(), threading.Event()
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._away = False
        self._made: dict[str, _Ends] = {}
        self._loaded: deque[str] = deque(maxlen=models)  # those made last, the last one last
        self._prune_at = 0.0
        self._threads = [
            threading.Thread(target=each, name=f"api-{each.__name__.strip('_')}", daemon=True)
            for each in (self._keep, *[self._make_all] * at_once)
        ]

    @property
    def ready(self) -> bool:
        """Whether jobs are made."""
        return not self._closed.is_set() and all(each.is_alive() for each in self._threads)

    def start(self) -> None:
        """Begin to make jobs."""
        for thread in self._threads:
            thread.start()

    def look(self) -> None:
        """There is a job to be made."""
        self._news.set()

    def stop(self, id: str, reason: str) -> None:
        """End a job, if it is made here now."""
        with self._lock:
            ends = self._made.get(id)
        if ends is not None:
            ends.end(reason)

    def close(self, patience: float = 10.0) -> None:
        """Make no more; what isn't done after ``patience`` seconds is made after the next start.

        Again it does nothing.
        """
        self._closed.set()
        self._news.set()
        deadline = time.monotonic() + patience
        while self._made and time.monotonic() < deadline:
            time.sleep(0.05)
        with self._lock:
            for ends in self._made.values():
                ends.end(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(60)

    def make(self, job: Job, hear: Callable[[Update], None] | None = None) -> bool:
        """Make a job of this server, now; → whether it is complete.

        Whoever can ``hear`` it does, and learns at once if the backend's queue is full. Raises
        ``BackendError``, when the job has ended by it, and ``DatabaseUnavailable``.
        """
        with self._making(job) as stop:
            try:
                return self._settle(job, self._take(job, stop, hear), stop)
            except QueueFull:
                self._jobs.cancel(job.id)
                raise
            except MusicGenSpaceError as error:
                self._fail(job, str(error))
                raise
            except Exception as error:
                # Without its words, in which a prompt may be.
                frames = "".join(traceback.format_tb(error.__traceback__))
                log.error("Job %s failed: %s\n%s", job.id, type(error).__name__, frames)
                self._fail(job, _INTERNAL)
                raise BackendError(_INTERNAL) from None

    def _take(self, job: Job, stop: _Ends, hear: Callable[[Update], None] | None) -> Take | None:
        take = None
        for update in self._updates(job, stop, patient=hear is None):
            if hear is not None:
                hear(update)
            if isinstance(update, Take):
                take = update
        return take

    @contextmanager
    def _making(self, job: Job) -> Iterator[_Ends]:
        """The event that ends this job of this server, which is kept alive in the block."""
        ends = _Ends(time.monotonic() + self._seconds)
        with self._lock:
            self._made[job.id] = ends
            if job.model in self._loaded:
                self._loaded.remove(job.model)
            self._loaded.append(job.model)
        try:
            yield ends
        finally:
            with self._lock:
                del self._made[job.id]
            self._bell.ring(job.id)

    def _updates(self, job: Job, stop: threading.Event, *, patient: bool) -> Iterator[Update]:
        """What comes while a job is made; the ``patient`` wait for a place in the queue."""
        clips = {name: read_clip(self._jobs.clip(file)) for name, file in job.clips.items()}
        request = Order.request_of(job.model, job.fields, clips)
        while True:
            try:
                yield from self._backend.generate(request, stop, f"api-{job.account}")
                return
            except QueueFull:
                if not patient:
                    raise
                if stop.wait(_LOOK_SECONDS):
                    return

    def _settle(self, job: Job, take: Take | None, stop: _Ends) -> bool:
        """Keep what was made of a job, or end it without; → whether it is complete."""
        if take is not None and not take.stopped and job.format in formats_for(take):
            kept = self._keep_file(job, encode(take, job.format), stop)
            if kept:
                self._metrics.made(take)
            return kept
        if stop.is_set() and stop.reason is None and job.waiter is None:
            self._jobs.give_back(job)
        elif stop.is_set() and stop.reason in (None, WENT):
            self._jobs.cancel(job.id)
        else:
            self._fail(job, stop.reason or _NO_SOUND)
        return False

    def _fail(self, job: Job, reason: str) -> None:
        if self._jobs.fail(job, reason):
            self._metrics.failed()

    def _keep_file(self, job: Job, data: bytes, stop: threading.Event) -> bool:
        """Keep what was made, and wait for a database that is away: it may be back soon."""
        while True:
            try:
                return self._jobs.complete(job, data)
            except DatabaseUnavailable:
                if stop.wait(_LOOK_SECONDS):
                    raise

    # The threads that make.

    def _make_all(self) -> None:
        while not self._closed.is_set():
            with self._looking:  # the others make, or look after this one
                job = self._next()
            if job is not None:
                with contextlib.suppress(MusicGenSpaceError):  # the job tells of it
                    self.make(job)

    def _next(self) -> Job | None:
        """A job, now or as soon as there is one; None after a while without."""
        if self._closed.is_set():
            return None
        job = None
        with self._noted():
            job = self._jobs.claim([*self._loaded]) if self._database.is_there else None
        if job is None:
            self._news.wait(_LOOK_SECONDS)
            self._news.clear()
        return job

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """A database that is away is noted in the log, once till it is back."""
        try:
            yield
            self._away = False
        except DatabaseUnavailable as error:
            if not self._away:
                log.warning("%s", error)
            self._away = True

    # The thread that keeps.

    def _keep(self) -> None:
        while not self._closed.wait(self._beat) or self._made:
            with self._noted():
                if self._database.is_there:
                    self._look_after()
            if self._closed.is_set():
                time.sleep(0.1)

    def _look_after(self) -> None:
        with self._lock:
            made = {**self._made}
        mine = self._jobs.renew(made, self._bell.awaited)
        for id, ends in made.items():
            if id not in mine:
                ends.end("It is another server's job by now.")
            elif time.monotonic() > ends.deadline:
                ends.end(_TOO_LONG)
        self._jobs.recover()
        if time.monotonic() > self._prune_at:
            self._prune_at = time.monotonic() + _PRUNE_SECONDS
            self._jobs.prune()
        self._news.set()

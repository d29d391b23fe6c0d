"""Jobs that one model makes at once: what its scheduler tells becomes their updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from musicgen_space.backends.local.job import Job, failure_of
from musicgen_space.backends.local.pace import Pace
from musicgen_space.backends.making import Maker, Told
from musicgen_space.engine.live.session import Live
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.scheduler.events import Done, Event, Failed, Made
from musicgen_space.engine.scheduler.scheduler import Making, Scheduler
from musicgen_space.errors import MusicGenSpaceError

__all__ = ["Batch"]


class Batch:
    """The jobs of ``model``; ``ended`` is called for each once, with its error, if any.

    Live ones have ``ahead`` seconds of sound ahead. What goes wrong with one ends that one only.
    """

    def __init__(
        self,
        maker: Maker,
        model: MusicGen,
        pace: Pace,
        ended: Callable[[Job[Any], MusicGenSpaceError | None], None],
        ahead: float,
    ) -> None:
        self.model, self.maker = model, maker
        self._pace, self._ended, self._ahead = pace, ended, ahead
        self._scheduler = Scheduler(model)
        self._jobs: dict[Making, tuple[Job[Any], Told]] = {}
        self._lives: dict[Job[Any], Live] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is being made."""
        return bool(self._jobs or self._lives)

    def add(self, job: Job[Any]) -> None:
        """Make ``job`` too, whose request has a seed."""
        assert job.request is not None
        if job.live is not None:
            job.live.wake = self.wake
            self._lives[job] = Live(self._scheduler, self.model, job.live.wish, ahead=self._ahead)
            return
        making = self._scheduler.add(job.request, job.stopped)
        self._jobs[making] = job, Told(job.request, self.maker, job.stopped)

    def step(self) -> None:
        """Go on with all of them by a step."""
        for making, (job, _) in tuple(self._jobs.items()):
            if job.left.is_set():
                self._scheduler.cancel(making)
                self._end(making)
        for job in tuple(self._lives):
            self._steer(job)
        events = self._events()
        for job in tuple(self._lives):
            self._play(job, events)
        for event in events:
            if event.making not in self._jobs:
                continue
            try:
                self._tell(event)
            except Exception as error:  # as where there is no memory for the whole take
                self._scheduler.cancel(event.making)
                self._end(event.making, error)

    def wake(self) -> None:
        """Let a ``step`` that waits return; in any thread."""
        self._scheduler.wake()

    def close(self) -> None:
        """Drop all jobs and the scheduler's threads."""
        for making in tuple(self._jobs):
            self._end(making)
        for job in tuple(self._lives):
            self._end_live(job)
        self._scheduler.close()

    def _events(self) -> Sequence[Event]:
        try:
            return self._scheduler.step()
        except Exception as error:  # of none of them in particular
            lives = (making for live in self._lives.values() for making in live.makings)
            return [Failed(making, error) for making in (*self._jobs, *lives)]

    def _steer(self, job: Job[Any]) -> None:
        """What its listener wishes by now."""
        live, controls = self._lives[job], job.live
        assert controls is not None
        if job.stopped():
            self._end_live(job)
            return
        try:
            if controls.wish is not live.wish:
                live.steer(controls.wish)
            live.fetched(controls.fetched, controls.began)
            live.prepare()
        except Exception as error:
            self._end_live(job, error)

    def _play(self, job: Job[Any], events: Sequence[Event]) -> None:
        try:
            for heard in self._lives[job].hear(events):
                job.tell(heard)
        except Exception as error:
            self._end_live(job, error)

    def _end_live(self, job: Job[Any], error: BaseException | None = None) -> None:
        self._lives.pop(job).close()
        self._ended(job, _failure_of(error))

    def _tell(self, event: Event) -> None:
        job, told = self._jobs[event.making]
        if isinstance(event, Made):
            for update in told.of(event.piece):
                job.tell(update)
            self._measure(event)
        elif isinstance(event, Done):
            for take in told.takes():
                job.tell(take)
            self._end(event.making)
        elif isinstance(event, Failed):
            self._scheduler.cancel(event.making)
            self._end(event.making, event.error)

    def _measure(self, event: Made) -> None:
        takes, _, samples = event.piece.samples.shape
        if samples and not self._lives:  # which make no more than is heard
            together = sum(told.request.variations for _, told in self._jobs.values())
            self._pace.made(together, takes * samples / self.maker.sample_rate)

    def _end(self, making: Making, error: BaseException | None = None) -> None:
        job, _ = self._jobs.pop(making)
        self._ended(job, _failure_of(error))


def _failure_of(error: BaseException | None) -> MusicGenSpaceError | None:
    if error is None:
        return None
    failure = failure_of(error)
    error.__traceback__ = None  # which holds the take's memory
    return failure

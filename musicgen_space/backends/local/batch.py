"""Jobs that one model makes at once: what its scheduler tells becomes their updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from musicgen_space.backends.local.job import Job, failure_of
from musicgen_space.backends.local.pace import Pace
from musicgen_space.backends.making import Maker, Told
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.scheduler.events import Done, Event, Failed, Made
from musicgen_space.engine.scheduler.scheduler import Making, Scheduler
from musicgen_space.errors import MusicGenSpaceError

__all__ = ["Batch"]


class Batch:
    """The jobs of ``model``; ``ended`` is called for each once, with its error, if any.

    What goes wrong with one ends that one only.
    """

    def __init__(
        self,
        maker: Maker,
        model: MusicGen,
        pace: Pace,
        ended: Callable[[Job, MusicGenSpaceError | None], None],
    ) -> None:
        self.model, self.maker = model, maker
        self._pace, self._ended = pace, ended
        self._scheduler = Scheduler(model)
        self._jobs: dict[Making, tuple[Job, Told]] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is being made."""
        return bool(self._jobs)

    def add(self, job: Job) -> None:
        """Make ``job`` too, whose request has a seed."""
        assert job.request is not None
        making = self._scheduler.add(job.request, job.stopped)
        self._jobs[making] = job, Told(job.request, self.maker, job.stopped)

    def step(self) -> None:
        """Go on with all of them by a step."""
        for making, (job, _) in tuple(self._jobs.items()):
            if job.left.is_set():
                self._scheduler.cancel(making)
                self._end(making)
        for event in self._events():
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
        self._scheduler.close()

    def _events(self) -> Sequence[Event]:
        try:
            return self._scheduler.step()
        except Exception as error:  # of none of them in particular
            return [Failed(making, error) for making in self._jobs]

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
        if samples:
            together = sum(told.request.variations for _, told in self._jobs.values())
            self._pace.made(together, takes * samples / self.maker.sample_rate)

    def _end(self, making: Making, error: BaseException | None = None) -> None:
        job, _ = self._jobs.pop(making)
        failure = None if error is None else failure_of(error)
        if error is not None:
            error.__traceback__ = None  # which holds the take's memory
        self._ended(job, failure)

"""A job that is made while its client hears it."""

from __future__ import annotations

import threading

from musicgen_space.backends.base import Chunk, Update
from musicgen_space.errors import MusicGenSpaceError
from musicgen_space.server.database import Job
from musicgen_space.server.handover import Handover
from musicgen_space.server.jobs.runner import WENT, Runner

__all__ = ["Live"]


class Live:
    """The pieces of ``job``, from a thread of its own, which waits for no reader.

    They are no more than one take. Made in a loop, and read there.
    """

    def __init__(self, runner: Runner, job: Job) -> None:
        self._runner, self._job = runner, job
        self._pieces = Handover[Chunk]()
        threading.Thread(target=self._make, name="api-live", daemon=True).start()

    async def next(self, seconds: float | None = None) -> Chunk | None:
        """The next piece; None after the last one, when the job is complete.

        Raises ``TimeoutError`` after so many ``seconds``, and what the job has ended with.
        """
        return await self._pieces.next(seconds)

    def close(self) -> None:
        """Nobody listens any more: what isn't done ends, and costs nothing."""
        self._runner.stop(self._job.id, WENT)

    # The thread.

    def _make(self) -> None:
        try:
            complete = self._runner.make(self._job, self._hear)
            self._pieces.tell(None if complete else MusicGenSpaceError("The music was stopped."))
        except MusicGenSpaceError as error:
            self._pieces.tell(error.with_traceback(None))

    def _hear(self, update: Update) -> None:
        if isinstance(update, Chunk):
            self._pieces.tell(update)

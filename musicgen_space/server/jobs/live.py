"""A job that is made while its client hears it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TypeAlias

from musicgen_space.backends.base import Chunk, Update
from musicgen_space.errors import MusicGenSpaceError
from musicgen_space.server.database import Job
from musicgen_space.server.jobs.runner import WENT, Runner

__all__ = ["Live"]

# The sound, piece by piece; None once the job is complete, or why it never will be.
_News: TypeAlias = Chunk | MusicGenSpaceError | None


class Live:
    """The pieces of ``job``, from a thread of its own, which waits for no reader.

    They are no more than one take. Made in a loop, and read there.
    """

    def __init__(self, runner: Runner, job: Job) -> None:
        self._runner, self._job = runner, job
        self._news: asyncio.Queue[_News] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._make, name="api-live", daemon=True).start()

    async def next(self, seconds: float | None = None) -> Chunk | None:
        """The next piece; None after the last one, when the job is complete.

        Raises ``TimeoutError`` after so many ``seconds``, and what the job has ended with.
        """
        news = await asyncio.wait_for(self._news.get(), seconds)
        if isinstance(news, MusicGenSpaceError):
            raise news
        return news

    def close(self) -> None:
        """Nobody listens any more: what isn't done ends, and costs nothing."""
        self._runner.stop(self._job.id, WENT)

    # The thread.

    def _make(self) -> None:
        try:
            complete = self._runner.make(self._job, self._hear)
            self._tell(None if complete else MusicGenSpaceError("The music was stopped."))
        except MusicGenSpaceError as error:
            self._tell(error.with_traceback(None))

    def _hear(self, update: Update) -> None:
        if isinstance(update, Chunk):
            self._tell(update)

    def _tell(self, news: _News) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)

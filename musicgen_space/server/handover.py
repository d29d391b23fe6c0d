"""What a thread tells, read in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Generic, TypeVar

from musicgen_space.errors import MusicGenSpaceError

__all__ = ["Handover"]

_News = TypeVar("_News")


class Handover(Generic[_News]):
    """From any thread to the loop in which it was made; it waits for no reader."""

    def __init__(self) -> None:
        self._news: asyncio.Queue[_News | MusicGenSpaceError | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def tell(self, news: _News | MusicGenSpaceError | None) -> None:
        """The next thing; an error or None is the last."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)

    async def next(self, seconds: float | None = None) -> _News | None:
        """What was told next; None after the last.

        Raises ``TimeoutError`` after so many ``seconds``, and an error that was told.
        """
        news = await asyncio.wait_for(self._news.get(), seconds)
        if isinstance(news, MusicGenSpaceError):
            raise news
        return news

"""The page's own work for its visitors, besides music: files of sounds, loudness, pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import gradio as gr
from fastapi import HTTPException

from musicgen_space.page.visitors.identity import address_of

__all__ = ["PageWork"]

_AT_A_TIME = 2  # a long job must not hold up all others, nor all of them the music
_MOST_ASKED = 32  # four takes heard with one finish after the other, in several tabs


@dataclass(slots=True)
class _Place:
    """An address that asks for something: how much of it is not done yet."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    asked: int = 0


class PageWork:
    """Two jobs at a time, each for another address: nobody's line holds up the others.

    All of it happens in the page's event loop, but for the jobs, which have threads.
    """

    def __init__(self) -> None:
        self._threads = anyio.CapacityLimiter(_AT_A_TIME)
        self._places: dict[str, _Place] = {}

    def in_turn(self, job: Callable[[Any], Any]) -> Callable[[Any, gr.Request], Awaitable[Any]]:
        """``job`` as a server function of the same name, which waits for its turn.

        It raises ``HTTPException`` (429) where too much is asked for at once: to a script
        that is a failure of the network.
        """

        async def function(wish: Any, request: gr.Request) -> Any:
            address = address_of(request)
            place = self._places.setdefault(address, _Place())
            if place.asked >= _MOST_ASKED:
                raise HTTPException(429, "Too much is asked for at once.")
            place.asked += 1
            try:
                async with place.turn:
                    return await anyio.to_thread.run_sync(partial(job, wish), limiter=self._threads)
            finally:
                place.asked -= 1
                if not place.asked:
                    del self._places[address]

        function.__name__ = job.__name__
        return function

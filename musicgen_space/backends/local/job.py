"""What the local backend's worker is to do, and what it tells of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from musicgen_space.backends.base import Loading
from musicgen_space.backends.fair_queue import Ticket
from musicgen_space.backends.making import as_ours
from musicgen_space.errors import MusicGenSpaceError
from musicgen_space.live import LiveControls
from musicgen_space.request import MusicRequest

__all__ = ["Job", "Stopped", "failure_of"]

_Told = TypeVar("_Told")  # what its listener gets: updates of a take, or of live music

_POLL_SECONDS = 0.1  # between checks for Stop while a model is loaded


class Job(Generic[_Told]):
    """``request`` is to be made by ``model``, None: the default; without one, only load that.

    With ``live``, its wish is played until it is stopped. ``stopped`` tells whether the listener
    pressed Stop or left, ``left`` whether they left. Each has an update queue of its own, so a
    slow listener never holds up the worker.
    """

    def __init__(
        self,
        model: str | None,
        request: MusicRequest | None,
        stopped: Callable[[], bool],
        ticket: Ticket | None = None,
        live: LiveControls | None = None,
    ) -> None:
        self.model, self.request, self.stopped, self.ticket = model, request, stopped, ticket
        self.live = live
        self.left = threading.Event()
        self.begun = False
        self._updates: queue.SimpleQueue[_Told | Loading | MusicGenSpaceError | None] = (
            queue.SimpleQueue()
        )

    def tell(self, update: _Told | Loading | MusicGenSpaceError | None) -> None:
        """Send the listener an update; an error or None is the last."""
        self._updates.put(update)

    def report(self, update: Loading) -> None:
        """The same while a model is loaded; raises ``Stopped`` if nobody waits for it."""
        if self.stopped():
            raise Stopped
        self.tell(update)

    def updates(self) -> Iterator[_Told | Loading]:
        """What is told until the job ends; raises its error, if any."""
        while self.begun or not self.stopped():
            try:
                update = self._updates.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if update is None:
                return
            if isinstance(update, MusicGenSpaceError):
                raise update
            yield update


def failure_of(error: BaseException) -> MusicGenSpaceError | None:
    """``error`` as one of ours; None when the program ends, and no thread can begin any more."""
    return as_ours(error) if threading.main_thread().is_alive() else None


class Stopped(Exception):
    """Raised to abort a download or a load."""

"""Blocking work in a thread of its own, so that whoever waits for it can leave at once.

A POST may block for minutes and cannot be interrupted. The thread that sends it is a
daemon; the generator that reports on it only waits on a queue. Knows nothing of HTTP.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

from musicgen_space.backends.base import Loading
from musicgen_space.errors import OutcomeUnknown, StoppedButBilled
from musicgen_space.message import Message
from musicgen_space.take import Take

__all__ = ["Abandoned", "Worker"]

_LOOK_EVERY = 0.05  # seconds between two looks at the Stop button


class Abandoned(Exception):
    """Ends the worker's thread: nobody waits for its result any more."""


class Worker:
    """One take being made elsewhere: what it tells, and whether anybody still listens.

    The worker's side: ``tell``, ``pause``, ``may_send``, ``nothing_sent``.
    The waiting side: ``updates`` and ``abandon``.
    """

    def __init__(self, make: Callable[[Worker], Take]) -> None:
        self._make = make
        self._news: queue.SimpleQueue[Message | Take | Exception] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._abandoned = threading.Event()
        self._sent = False

    def tell(self, phase: Message) -> None:
        """Say what is going on; raises ``Abandoned`` when nobody waits."""
        self.pause(0)
        self._news.put(phase)

    def pause(self, seconds: float) -> None:
        """Sleep; raises ``Abandoned`` as soon as nobody waits any more."""
        if self._abandoned.wait(seconds):
            raise Abandoned

    def may_send(self) -> None:
        """Ask before sending what costs money; raises ``Abandoned`` when Stop came first."""
        with self._lock:
            if self._abandoned.is_set():
                raise Abandoned
            self._sent = True

    def nothing_sent(self) -> None:
        """Take ``may_send`` back: it is certain that the job was not accepted."""
        with self._lock:
            self._sent = False

    def abandon(self) -> bool:
        """Stop waiting; whether a job is out that may be billed."""
        with self._lock:
            self._abandoned.set()
            return self._sent

    def updates(self, stop: threading.Event, patience: float) -> Iterator[Loading | Take]:
        """Start the work and report on it until the take is there.

        Raises what the work raised; ``StoppedButBilled`` when ``stop`` is set after a job
        was sent (before that, it just ends); ``OutcomeUnknown`` after ``patience`` seconds.
        """
        if stop.is_set():
            return
        started = time.monotonic()
        phase, shown = Message("Connecting"), ""
        threading.Thread(target=self._run, name="segmind", daemon=True).start()
        while True:
            news = self._next_news()
            if isinstance(news, Take):  # even after Stop: it is paid for
                yield news
                return
            if isinstance(news, Exception):
                raise news
            if stop.is_set():
                return self._leave()
            seconds = time.monotonic() - started
            if seconds > patience:
                self.abandon()
                raise OutcomeUnknown(f"No take after {seconds:.0f} seconds; it may be billed.")
            phase = news or phase
            what = Message("{phase} · {seconds:.0f} s", phase=phase, seconds=seconds)
            if str(what) != shown:
                shown = str(what)
                yield Loading(what)

    def _leave(self) -> None:
        if self.abandon():
            raise StoppedButBilled

    def _next_news(self) -> Message | Take | Exception | None:
        try:
            return self._news.get(timeout=_LOOK_EVERY)
        except queue.Empty:
            return None

    def _run(self) -> None:
        try:
            self._news.put(self._make(self))
        except Abandoned:
            pass
        except Exception as error:  # whatever it is, the waiting side raises it
            self._news.put(error)

"""Who listens to what is made: what nobody listens to is stopped.

Gradio makes what was asked for whether or not somebody fetches its news, and goes on while a
handler has none. So each take is watched from here: is a stream of its news open?
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from starlette.types import ASGIApp, Receive, Scope, Send

from musicgen_space.page.gradio_compat import stream_about

__all__ = ["Audience"]


class Audience:
    """The streams that are open, by what they are about: a session, or a call of a program.

    A take may be without listeners for ``patience`` seconds: till its stream is opened, or
    opened again.
    """

    def __init__(self, patience: float = math.inf) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._streams: Counter[str] = Counter()
        self._watched: list[_Watched] = []

    @contextmanager
    def watching(self, about: set[str], stop: threading.Event) -> Iterator[None]:
        """Set ``stop`` as soon as nobody has listened to any of ``about`` for too long."""
        watched = _Watched(about, stop)
        with self._lock:
            self._watched.append(watched)
            self._look_at(watched)
        try:
            yield
        finally:
            with self._lock:
                self._watched.remove(watched)
                watched.call_off()

    def in_front_of(self, app: ASGIApp) -> ASGIApp:
        """``app`` with an eye on its streams."""

        async def watching(scope: Scope, receive: Receive, send: Send) -> None:
            about = stream_about(scope)
            with self._listening(about) if about else nullcontext():
                await app(scope, receive, send)

        return watching

    @contextmanager
    def _listening(self, about: str) -> Iterator[None]:
        self._changed(about, 1)
        try:
            yield
        finally:
            self._changed(about, -1)

    def _changed(self, about: str, by: int) -> None:
        with self._lock:
            self._streams[about] += by
            if not self._streams[about]:
                del self._streams[about]
            for watched in self._watched:
                if about in watched.about:
                    self._look_at(watched)

    def _look_at(self, watched: _Watched) -> None:
        if any(about in self._streams for about in watched.about):
            watched.call_off()
        elif math.isfinite(self._patience):
            watched.stop_after(self._patience)


class _Watched:
    """A take, which is stopped when its timer ends."""

    def __init__(self, about: set[str], stop: threading.Event) -> None:
        self.about, self._stop = about, stop
        self._timer: threading.Timer | None = None

    def stop_after(self, seconds: float) -> None:
        """Stop it then; the timer that is running runs on."""
        if self._timer is None:
            self._timer = threading.Timer(seconds, self._stop.set)
            self._timer.daemon = True
            self._timer.start()

    def call_off(self) -> None:
        """Somebody listens again, or the take is done."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

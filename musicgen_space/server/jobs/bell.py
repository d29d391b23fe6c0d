"""``Bell``: threads ring it for a job, and the coroutines that wait for that job hear it."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["Bell", "Listener"]


class Listener:
    """Waits in the loop that made it."""

    def __init__(self) -> None:
        self._event, self._loop = asyncio.Event(), asyncio.get_running_loop()

    def ring(self) -> None:
        """From any thread."""
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            self._loop.call_soon_threadsafe(self._event.set)

    async def rung(self, seconds: float) -> bool:
        """Wait for it, ``seconds`` at most; → whether it rang since it was last heard."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Bell:
    """Who listens for which job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)

    @contextmanager
    def heard(self, id: str) -> Iterator[Listener]:
        """Listen for a job in the block."""
        listener = Listener()
        with self._lock:
            self._listeners[id].add(listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners[id].discard(listener)
                if not self._listeners[id]:
                    del self._listeners[id]

    @property
    def awaited(self) -> set[str]:
        """The jobs that somebody listens for."""
        with self._lock:
            return {*self._listeners}

    def ring(self, id: str) -> None:
        """Tell all who listen for a job."""
        with self._lock:
            listeners = [*self._listeners.get(id, ())]
        for each in listeners:
            each.ring()

"""``Downloads``: models from the hub, each of them once at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["Downloads", "ReportBytes"]

ReportBytes = Callable[[int, int], None]  # bytes done, bytes in all

_POLL_SECONDS = 0.2


class Downloads:
    """What several threads download. Thread-safe.

    Whoever wants a model that another thread is downloading is told of its progress, and goes on
    with the rest if that one gives up. The hub's client would wait for the file's lock, without a
    word and without an end.
    """

    def __init__(self) -> None:
        self._current: dict[str, _Download] = {}  # by model

    def fetch(self, name: str, report: ReportBytes, *, tokenizer_only: bool = False) -> Path:
        """The folder of ``name``; see ``hub.fetch``, which ``report`` and errors are those of."""
        from musicgen_space.engine.checkpoint import hub

        current = self._current.setdefault(name, _Download())
        while not current.lock.acquire(timeout=_POLL_SECONDS):
            report(*current.progress)
        try:
            return hub.fetch(name, current.noted(report), tokenizer_only=tokenizer_only)
        finally:
            current.lock.release()


class _Download:
    """Held by the thread that downloads a model, and how far that is."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.progress = (0, 0)

    def noted(self, report: ReportBytes) -> ReportBytes:
        """``report``, whose progress the others can see."""

        def note(done: int, total: int) -> None:
            self.progress = (done, total)
            report(done, total)

        return note

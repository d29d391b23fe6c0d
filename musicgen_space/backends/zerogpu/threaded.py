"""A generator that runs in a thread, so that whoever reads it need not wait for it to stop."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["threaded"]

_POLL_SECONDS = 0.1  # between checks for Stop
_END = object()


def threaded(begin: Callable[[], Any], stopped: Callable[[], bool]) -> Iterator[Any]:
    """What the generator yields that ``begin`` returns; what it raises is raised here.

    Once ``stopped``, or when this iterator is closed, the generator is closed at its next yield.
    Its thread has the caller's context: Gradio's request in it says whose quota a GPU is on.
    """
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    left = threading.Event()

    def work() -> None:
        end: object = _END
        try:
            generator = begin()
            for item in generator:
                items.put(item)
                if left.is_set() or stopped():
                    generator.close()
                    break
        except BaseException as error:
            end = _Raised(error)
        items.put(end)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="zerogpu", daemon=True).start()
    try:
        yield from _read(items, stopped)
    finally:
        left.set()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _read(items: queue.SimpleQueue[Any], stopped: Callable[[], bool]) -> Iterator[Any]:
    """The items till the last; once ``stopped``, those that are there."""
    while True:
        try:
            item = items.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            if stopped():
                return
            continue
        if item is _END:
            return
        if isinstance(item, _Raised):
            raise item.error
        yield item

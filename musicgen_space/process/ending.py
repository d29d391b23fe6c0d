"""How a process ends that is told to: by Ctrl-C (SIGINT), or by SIGTERM.

Its exit code is 128 and the signal's number, as shells have it: 130 and 143.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["SIGNALS", "Ending", "end_quietly", "ending"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_quietly() -> None:
    """From now on either signal ends the process at once, with a line instead of a traceback.

    Not by an exception: modules that are half imported make another one of it, or go on.
    """
    for number in SIGNALS:
        signal.signal(number, _end)


class Ending(threading.Event):
    """Set when the process was told to end, with the exit ``code`` that it should have then."""

    code = 0


@contextmanager
def ending() -> Iterator[Ending]:
    """What the first signal in this block sets; the next one does what it did before.

    Whoever waits for it in the main thread has to ask ``is_set`` again and again: a signal
    that came within ``wait`` would wait for itself.
    """
    told = Ending()
    usual = {number: signal.getsignal(number) for number in SIGNALS}

    def tell(number: int, _: FrameType | None) -> None:
        as_usual()
        told.code = 128 + number
        told.set()

    def as_usual() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, tell)
    try:
        yield told
    finally:
        as_usual()


def _end(number: int, _: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"Interrupted.\n")
    os._exit(128 + number)

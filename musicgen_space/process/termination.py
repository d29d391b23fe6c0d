"""Termination by a signal: Ctrl-C (SIGINT) or SIGTERM.

The exit code is 128 + the signal's number, as in shells: 130 or 143.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

__all__ = ["SIGNALS", "Termination", "catch_termination", "exit_now", "exit_on_signals"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL_SECONDS = 0.1


def exit_on_signals() -> None:
    """From now on either signal exits at once, with one line instead of a traceback.

    Not with an exception, which modules that are being imported may translate or swallow.
    """
    for number in SIGNALS:
        signal.signal(number, _exit)


class Termination(threading.Event):
    """Set once the process should terminate, with the exit ``code`` to use."""

    code = 0

    def awaited(self) -> None:
        """Return once it is set; for the main thread, see ``catch_termination``."""
        while not self.is_set():
            time.sleep(_POLL_SECONDS)


@contextmanager
def catch_termination() -> Iterator[Termination]:
    """An event that the first signal in this block sets; the next one has its usual effect.

    The main thread must poll ``is_set``: a signal handler that runs within its ``wait`` would
    deadlock on the event's lock.
    """
    termination = Termination()
    previous = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, _: FrameType | None) -> None:
        restore()
        termination.code = 128 + number
        termination.set()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield termination
    finally:
        restore()


def exit_now(code: int) -> NoReturn:
    """Exit with ``code``, whatever threads of libraries still do.

    Else those of the hub's client, which sleeps between its attempts, hold the exit for minutes.
    """
    busy = [thread for thread in threading.enumerate() if not thread.daemon]
    if busy == [threading.main_thread()]:
        sys.exit(code)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _exit(number: int, _: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"Interrupted.\n")
    os._exit(128 + number)

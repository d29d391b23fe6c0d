"""The page over a machine that makes one take at a time and prints which, for hostile visitors.

Bounds are small, so that tests needn't send much, nor wait long.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np

from musicgen_space.backends.base import Backend, ModelChoice, Progress, Update
from musicgen_space.backends.queue import TakeQueue
from musicgen_space.request import MusicRequest
from musicgen_space.serve import serve
from musicgen_space.settings import Settings
from musicgen_space.take import Take
from tests.page.test_session import Hosted

RATE = 32000
SECONDS_A_SECOND = 20  # of music, of time
PATIENCE = 1.0
UPLOAD_BYTES, UPLOAD_BYTES_EACH = 1_000_000, 400_000
SESSIONS = 200


class Slow(Backend):
    """Makes silence, in line."""

    name, label, about = "local", "This machine", "slow"
    knobs = frozenset(MusicRequest.__dataclass_fields__)

    def __init__(self, settings: Settings) -> None:
        self._queue = TakeQueue(settings)

    def models(self) -> list[ModelChoice]:
        return [ModelChoice("plain", "")]

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        with self._queue.joined(visitor, request) as ticket:
            yield from self._queue.waited(ticket, stop.is_set)
            if stop.is_set():
                print(f"never began {request.prompt}", flush=True)
                return
            print(f"began {request.prompt}", flush=True)
            yield Progress(0.1, request.duration, 0.1)
            stopped = stop.wait(request.duration / SECONDS_A_SECOND)
            print(f"{'stopped' if stopped else 'made'} {request.prompt}", flush=True)
            yield Take(np.zeros((1, RATE), np.float32), RATE, request, "local", "plain", 0.1)


if __name__ == "__main__":
    with (
        patch("musicgen_space.serve._PATIENCE", PATIENCE),
        patch("musicgen_space.page.session.MOST_SESSIONS", SESSIONS),  # before the page has it
        patch("musicgen_space.page.visitors.uploads._MOST_BYTES", UPLOAD_BYTES),
        patch("musicgen_space.page.visitors.uploads._MOST_BYTES_EACH", UPLOAD_BYTES_EACH),
    ):
        serve(
            Settings.from_environment(),
            lambda settings: {"local": Slow(settings), "hosted": Hosted()},
        )

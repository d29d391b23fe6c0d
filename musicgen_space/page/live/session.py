"""One live session of a page: a thread takes in what a backend plays, and the page fetches it."""

from __future__ import annotations

import asyncio
import base64
import logging
import shutil
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from musicgen_space.audio.recording import Recording
from musicgen_space.audio.resample import to_int16
from musicgen_space.backends.base import Backend, Loading, Waiting
from musicgen_space.errors import BackendError, MusicGenSpaceError
from musicgen_space.live import Heard, LiveControls, LiveWish
from musicgen_space.message import Message, Text, as_json
from musicgen_space.page.player.progress import status
from musicgen_space.page.session import BROKEN
from musicgen_space.take import Take

__all__ = ["LiveSession"]

log = logging.getLogger(__name__)

_WAIT = 1.0  # seconds that a page waits for news
_PATIENCE = 5.0  # seconds that it may take to end
_MOST_AT_ONCE = 20  # pieces, about three seconds

_SILENT = Message("There was nothing to hear yet.")


class LiveSession:
    """Plays ``wish`` on ``backend`` for ``visitor`` until it is stopped.

    It is for ``owner`` (None: whoever knows its id). It is recorded in ``folder``.
    Make it in the event loop that answers the page; ``more`` and ``stop_after`` belong there. No
    more is made than the page fetches, so no more than ``live_ahead`` seconds wait here.
    """

    def __init__(
        self, backend: Backend, wish: LiveWish, owner: str | None, visitor: str, folder: Path
    ) -> None:
        self.controls, self.owner = LiveControls(wish), owner
        self._backend, self._visitor, self._folder = backend, visitor, folder
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        self._ending: asyncio.TimerHandle | None = None
        self._changing = threading.Lock()
        self._pieces: deque[Heard] = deque()  # that the page may not have yet
        self._first = 0  # how many came before them
        self._last: Heard | None = None
        self._status: Any = as_json(Message("Getting ready"))
        self._trouble: Text = ""
        self.over = False  # whether it has ended
        self._recording: Recording | None = None
        self._thread: threading.Thread | None = None

    def begin(self, after: LiveSession | None = None) -> None:
        """Play from now on, once another one has ended."""
        self._thread = threading.Thread(
            target=self._play, args=(after,), name="page-live", daemon=True
        )
        self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Until it has ended, no longer than so many ``seconds``."""
        if self._thread is not None:
            self._thread.join(seconds)

    def stop_after(self, seconds: float) -> None:
        """Stop unless this is said again within ``seconds``."""
        if self._ending is not None:
            self._ending.cancel()
        self._ending = self._loop.call_later(seconds, self.controls.stop)

    async def more(self, first: int, heard: float | None = None) -> dict[str, Any]:
        """What there is from piece ``first`` on; waits a second for it.

        The page has ``heard`` that many seconds by now, if any.

        That is ``pieces`` (each with its ``sound`` as base64 of interleaved little-endian int16,
        the second of its ``start``, its ``prompt`` and what is ``coming``), the ``next`` to ask
        for, and if there is sound its ``rate``, ``channels`` and ``speed``. Before that a
        ``status``; at the end it is ``over``, and of ``trouble`` if there was any.
        """
        if heard is not None:
            self.controls.began = time.monotonic() - heard
        self._news.clear()
        if not self._has(first) and not self.over:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _WAIT)
        return self._answer(first)

    def take(self, seconds: Any) -> Take:
        """The last ``seconds`` as a take; raises ``MusicGenSpaceError``."""
        request = self.controls.wish.request
        model = str(request.model)
        return self._recorded.take(seconds, request, self._backend.name, model)

    def files(self, name: str) -> tuple[Path, str]:
        """A FLAC file of all so far, and a cue sheet for it under ``name``.

        It takes the place of the one that was asked for before.
        Raises ``BackendError`` before there is any sound, and ``OSError``.
        """
        recording = self._recorded
        for earlier in [*self._folder.glob("*.flac"), *self._folder.glob("*.cue")]:
            earlier.unlink(missing_ok=True)
        return recording.flac().replace(self._folder / name), recording.cue_sheet(name)

    def close(self) -> None:
        """Stop, and remove what was recorded."""
        self.controls.stop()
        self.wait(_PATIENCE)
        if self._ending is not None:
            self._ending.cancel()
        if self._recording is not None:
            self._recording.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _recorded(self) -> Recording:
        if self._recording is None:
            raise BackendError(_SILENT)
        return self._recording

    def _play(self, after: LiveSession | None) -> None:
        if after is not None:
            after.wait()
        try:
            for update in self._backend.live(self.controls, self._visitor):
                self._take_in(update)
        except MusicGenSpaceError as error:
            self._trouble = error.told
        except Exception:
            log.exception("Live music failed")
            self._trouble = BROKEN
        self.over = True
        self._ring()

    def _take_in(self, update: Waiting | Loading | Heard) -> None:
        if isinstance(update, Heard):
            with self._changing:
                self._pieces.append(update)
                self._last = update
            self._record(update)
        else:
            self._status = as_json(status(update))
        self._ring()

    def _record(self, heard: Heard) -> None:
        if self._recording is None:
            with suppress(OSError):  # without a file of it the music goes on
                self._folder.mkdir(parents=True)
            self._recording = Recording(self._folder, heard.sample_rate, heard.samples.shape[0])
        self._recording.add(heard)

    def _ring(self) -> None:
        """Let a page that waits look."""
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            self._loop.call_soon_threadsafe(self._news.set)

    def _has(self, first: int) -> bool:
        with self._changing:
            return self._first + len(self._pieces) > first

    def _answer(self, first: int) -> dict[str, Any]:
        over = self.over  # before a look at the pieces: none comes after it
        pieces = self._from(first)
        if pieces:
            self.controls.fetched = pieces[-1].start + _seconds(pieces[-1])
        return {
            "pieces": [_as_json(piece) for piece in pieces],
            "next": self._first + len(pieces),
            **self._about_sound(),
            "over": over and not pieces,
            "trouble": as_json(self._trouble) if over else "",
        }

    def _from(self, first: int) -> list[Heard]:
        """The pieces from ``first`` on; the page has those before it, which are dropped."""
        with self._changing:
            while self._pieces and self._first < first:
                self._pieces.popleft()
                self._first += 1
            return [*self._pieces][:_MOST_AT_ONCE]

    def _about_sound(self) -> dict[str, Any]:
        last = self._last
        if last is None:
            return {"status": self._status}
        channels, speed = last.samples.shape[0], last.speed
        return {"rate": last.sample_rate, "channels": channels, "speed": speed, "status": ""}


def _seconds(piece: Heard) -> float:
    return float(piece.samples.shape[-1] / piece.sample_rate)


def _as_json(piece: Heard) -> dict[str, Any]:
    return {
        "sound": base64.b64encode(to_int16(piece.samples).T.tobytes()).decode("ascii"),
        "start": piece.start,
        "prompt": piece.prompt,
        "coming": piece.coming,
    }

"""The live sessions of a page's visitors, and what their pages ask of them.

Nothing that a page sends is trusted: a session is found by an id that nobody guesses, and only
by whoever began it.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen_space.audio.recording import KEEP
from musicgen_space.backends.base import Backend
from musicgen_space.clip import Clip
from musicgen_space.errors import BackendError, LibraryUnavailable, MusicGenSpaceError
from musicgen_space.message import Message, as_json
from musicgen_space.page.live.session import LiveSession
from musicgen_space.page.live.wish import live_wish, steered
from musicgen_space.page.takes.own_takes import Answer, OwnTakes
from musicgen_space.page.visitors.account import Asking
from musicgen_space.page.visitors.identity import address_of
from musicgen_space.page.visitors.kept import Kept

__all__ = ["LiveSessions"]

log = logging.getLogger(__name__)

_PATIENCE = 60.0  # seconds that a session goes on while its page asks for nothing
_LONGEST = 1e6  # seconds that any of them lasts
_MOST = 16  # sessions that are remembered once they are over, with what was recorded

_GONE = Message("This live music is not there any more: press Play to begin again.")
_NOT_KEPT = Message("It could not be kept in your takes.")
_NO_ROOM = Message("The server has no room for that at the moment.")


class LiveSessions:
    """Plays on ``backends``, from the ``sounds`` of visitors if they want, and keeps ``takes``.

    ``play`` and ``more`` belong to the page's event loop; any thread may call the others.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        sounds: Kept[Clip],
        takes: OwnTakes,
        patience: float = _PATIENCE,
    ) -> None:
        self._backends, self._sounds, self._takes = backends, sounds, takes
        self._patience = patience
        self._lock = threading.Lock()
        self._sessions: dict[str, LiveSession] = {}  # by id, the latest last
        self._tabs: dict[str | None, str] = {}  # of each browser session, what it plays
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def play(self, sent: Any, asking: gr.Request, folder: Path) -> Answer:
        """Begin to play, in place of the session ``before``; → its ``id``.

        It is recorded in a folder below ``folder``.
        """
        answer: Answer = {}
        with _told(answer):
            given = _fields(sent)
            backend, wish = live_wish(self._backends, self._sounds, given)
            before = self._known(given.get("before"), sent, asking)
            if before is not None:
                before.controls.stop()
            id, owner = secrets.token_urlsafe(16), self._takes.whose(sent, asking)
            place = self._folder_in(folder) / secrets.token_urlsafe(24)
            session = LiveSession(backend, wish, owner, address_of(asking), place)
            session.stop_after(self._patience)
            self._remember(id, session)
            session.begin(before)
            answer["id"] = id
        return answer

    async def more(self, sent: Any, asking: gr.Request) -> Answer:
        """What there is to hear ``from`` a piece on, ``heard`` so far: ``LiveSession.more``."""
        answer: Answer = {"over": True}
        with _told(answer):
            session = self._of(sent, asking)
            session.stop_after(self._patience)
            given = _fields(sent)
            return await session.more(_whole(given.get("from")), _seconds(given.get("heard")))
        return answer

    def steer(self, sent: Any, asking: gr.Request) -> Answer:
        """Change what is to be heard."""
        answer: Answer = {}
        with _told(answer):
            self._of(sent, asking).controls.steer(**steered(_fields(sent)))
        return answer

    def stop(self, sent: Any, asking: gr.Request) -> Answer:
        """End the music."""
        answer: Answer = {}
        with _told(answer):
            self._of(sent, asking).controls.stop()
        return answer

    def keep(self, sent: Any, asking: gr.Request) -> Answer:
        """The last ``seconds`` become a take of the visitor's; → its ``ids`` in the library.

        And a ``note`` where there is something to say of it.
        """
        answer: Answer = {}
        with _told(answer):
            seconds = _fields(sent).get("seconds", KEEP.default)
            take = self._of(sent, asking).take(seconds)
            ids, note = self._takes.keep(self._takes.seen(sent, asking), [take])
            if not ids:
                raise LibraryUnavailable(note or _NOT_KEPT)
            answer |= {"ids": ids, "note": as_json(note)}
        return answer

    def record(self, sent: Any, asking: gr.Request) -> Answer:
        """All of it so far: the ``flac`` and the ``cue`` sheet as files, and their ``name``s."""
        answer: Answer = {}
        with _told(answer):
            session = self._of(sent, asking)
            name = time.strftime("live-%Y-%m-%d-%H%M")
            flac, sheet = session.files(f"{name}.flac")
            cue = flac.with_suffix(".cue")
            cue.write_text(sheet, encoding="utf-8")
            answer["flac"] = {"path": str(flac), "name": f"{name}.flac"}
            answer["cue"] = {"path": str(cue), "name": f"{name}.cue"}
        return answer

    def belongs(self, asking: gr.Request, sent: Any) -> None:
        """A tab says which session is its own: that ends with it."""
        if self._known(_fields(sent).get("id"), sent, asking) is not None:
            with self._lock:
                self._tabs[asking.session_hash] = str(_fields(sent)["id"])

    def leave(self, asking: gr.Request) -> None:
        """The tab was closed."""
        with self._lock:
            session = self._sessions.get(self._tabs.pop(asking.session_hash, ""))
        if session is not None:
            session.controls.stop()

    def close(self) -> None:
        """End all of them, and remove what was recorded."""
        with self._lock:
            sessions = [*self._sessions.values()]
            self._sessions.clear()
        for session in sessions:
            session.controls.stop()
        for session in sessions:
            session.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _of(self, sent: Any, asking: gr.Request) -> LiveSession:
        session = self._known(_fields(sent).get("id"), sent, asking)
        if session is None:
            raise BackendError(_GONE)
        return session

    def _known(self, id: object, sent: object, asking: Asking) -> LiveSession | None:
        with self._lock:
            session = self._sessions.get(str(id))
        mine = session is not None and session.owner == self._takes.whose(sent, asking)
        return session if mine else None

    def _remember(self, id: str, session: LiveSession) -> None:
        """Add a session; the oldest go for it, but none that plays."""
        with self._lock:
            over = [id for id, each in self._sessions.items() if each.over]
            few = max(0, len(self._sessions) + 1 - _MOST)
            gone = [self._sessions.pop(id) for id in over[:few]]
            self._sessions[id] = session
        for each in gone:
            each.close()

    def _folder_in(self, folder: Path) -> Path:
        with self._lock:
            if self._folder is None:
                folder.mkdir(parents=True, exist_ok=True)
                self._folder = tempfile.TemporaryDirectory(
                    prefix="live-", dir=folder, ignore_cleanup_errors=True
                )
        return Path(self._folder.name)


@contextmanager
def _told(answer: Answer) -> Iterator[None]:
    """What goes wrong is the ``trouble`` of an answer."""
    try:
        yield
    except MusicGenSpaceError as error:
        answer["trouble"] = as_json(error.told)
    except OSError as error:
        log.error("A recording of live music failed: %s", error)
        answer["trouble"] = as_json(_NO_ROOM)


def _fields(sent: Any) -> Mapping[str, Any]:
    return sent if isinstance(sent, Mapping) else {}


def _whole(number: object) -> int:
    """A number of pieces that a page sends; 0 for anything else."""
    return number if isinstance(number, int) and number > 0 else 0


def _seconds(number: object) -> float | None:
    """Seconds of sound that a page sends; None for anything else."""
    return number if isinstance(number, int | float) and 0 <= number < _LONGEST else None

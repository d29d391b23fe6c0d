"""Live music of one listener, made in a thread and read in an event loop."""

from __future__ import annotations

import logging
import threading
import traceback

from musicgen_space.backends.base import Backend, Loading, Waiting
from musicgen_space.errors import BackendError, MusicGenSpaceError
from musicgen_space.live import Heard, LiveControls
from musicgen_space.server.handover import Handover

__all__ = ["Player", "Players"]

log = logging.getLogger(__name__)

_INTERNAL = "The server failed to make the music; its log says why."


class Player:
    """Plays ``controls`` for ``visitor`` until they are stopped. Made in a loop, read there.

    What isn't read yet is little: no more is made than ``controls.fetched`` allows.
    """

    def __init__(self, backend: Backend, controls: LiveControls, visitor: str) -> None:
        self._backend, self._controls, self._visitor = backend, controls, visitor
        self._updates = Handover[Waiting | Loading | Heard]()
        threading.Thread(target=self._play, name="api-live", daemon=True).start()

    async def next(self, seconds: float | None = None) -> Waiting | Loading | Heard | None:
        """What comes next; None after the last.

        Raises ``TimeoutError`` after so many ``seconds``, and what the music has ended with.
        """
        return await self._updates.next(seconds)

    def _play(self) -> None:
        try:
            for update in self._backend.live(self._controls, self._visitor):
                self._updates.tell(update)
            self._updates.tell(None)
        except MusicGenSpaceError as error:
            self._updates.tell(error.with_traceback(None))
        except Exception as error:
            # Without its words, in which a prompt may be.
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("Live music failed: %s\n%s", type(error).__name__, frames)
            self._updates.tell(BackendError(_INTERNAL))


class Players:
    """Those of a server, as long as it is up."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._closed = backend, False
        self._playing: set[LiveControls] = set()
        self._changing = threading.Lock()

    @property
    def plays_live(self) -> bool:
        """Whether there can be any."""
        return self._backend.plays_live

    def begin(self, controls: LiveControls, visitor: str) -> Player:
        """Have somebody's wish played, until ``end``; in the loop that reads it."""
        with self._changing:
            self._playing.add(controls)
            if self._closed:
                controls.stop()
        return Player(self._backend, controls, visitor)

    def end(self, controls: LiveControls) -> None:
        """Nobody listens to it any more."""
        controls.stop()
        with self._changing:
            self._playing.discard(controls)

    def close(self) -> None:
        """Stop all."""
        with self._changing:
            self._closed = True
            for controls in self._playing:
                controls.stop()

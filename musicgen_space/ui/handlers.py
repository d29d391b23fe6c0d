"""What the page does when somebody presses something. Only here errors become ``gr.Error``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from musicgen_space.backends.base import Backend, Loading, Progress
from musicgen_space.errors import InvalidRequest, MusicGenSpaceError
from musicgen_space.request import LIMITS, MusicRequest, Take
from musicgen_space.ui.live import LiveSound
from musicgen_space.ui.player import View, view
from musicgen_space.ui.progress import TakeProgress

__all__ = ["Studio"]

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_VIEWS = 0.25


class Studio:
    """The page's event handlers and what they share: backends, live sound, stop flags."""

    def __init__(self, backends: dict[str, Backend], live: LiveSound, cache_folder: str) -> None:
        self._backends = backends
        self._live = live
        self._cache_folder = cache_folder
        self._stops: dict[str | None, threading.Event] = {}  # by browser session

    def begin(self, request: gr.Request, *wish: Any) -> tuple[Any, Any]:
        """Check the wish before it waits for anything; Generate becomes Stop."""
        try:
            self._request_of(*wish)
        except MusicGenSpaceError as error:
            raise gr.Error(str(error), print_exception=False) from error
        self._stop(request.session_hash)
        self._stops[request.session_hash] = threading.Event()
        return gr.update(visible=False), gr.update(visible=True)

    def make(self, request: gr.Request, *wish: Any) -> Iterator[tuple[View, Any]]:
        """Make the take; yields the player's view and, at the end, the seed that was used."""
        stop = self._stops.get(request.session_hash, threading.Event())
        backend, music_request = self._request_of(*wish)
        progress = TakeProgress(music_request, self._live, self._cache_folder)
        yield progress.view, gr.skip()
        shown = time.monotonic()
        try:
            for update in backend.generate(music_request, stop):
                current = progress.add(update)
                if isinstance(update, Take):
                    yield current, update.request.seed
                    return
                often = isinstance(update, Progress | Loading)
                if not often or time.monotonic() - shown > _SECONDS_BETWEEN_VIEWS:
                    shown = time.monotonic()
                    yield current, gr.skip()
            yield view("idle", "Stopped before there was any sound."), gr.skip()
        except MusicGenSpaceError as error:
            yield view("failed", str(error), title=music_request.prompt), gr.skip()
        except Exception:
            log.exception("A take failed")
            message = "Something went wrong here, not with your prompt. Please try again."
            yield view("failed", message, title=music_request.prompt), gr.skip()

    def end(self) -> tuple[Any, Any]:
        """Stop becomes Generate again."""
        return gr.update(visible=True), gr.update(visible=False)

    def stop(self, request: gr.Request) -> None:
        """End the take of this browser session within a decoding step."""
        self._stop(request.session_hash)

    def leave(self, request: gr.Request) -> None:
        """The tab was closed: stop making its take and forget it."""
        self._stop(request.session_hash)
        self._stops.pop(request.session_hash, None)

    def _stop(self, session: str | None) -> None:
        if session in self._stops:
            self._stops[session].set()

    def _request_of(
        self, backend_name: str, model: str, prompt: str, *knobs: Any
    ) -> tuple[Backend, MusicRequest]:
        """The page's fields, in its order, as a checked request; raises ``InvalidRequest``."""
        backend = self._backends.get(backend_name)
        if backend is None:
            raise InvalidRequest("backend", backend_name, f"must be one of {[*self._backends]}")
        offered = [choice.name for choice in backend.models()]
        if model not in offered:
            raise InvalidRequest("model", model, f"must be one of {offered}")
        return backend, MusicRequest(prompt, **dict(zip(LIMITS, knobs, strict=True)), model=model)

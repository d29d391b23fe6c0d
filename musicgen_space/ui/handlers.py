"""What the page does when somebody presses something. Only here errors become ``gr.Error``."""

from __future__ import annotations

import html
import ipaddress
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from musicgen_space.allowance import Allowance
from musicgen_space.backends.base import Backend, HostedBackend, Loading, Progress
from musicgen_space.errors import InvalidRequest, MusicGenSpaceError, UnusableKey
from musicgen_space.request import LIMITS, MusicRequest, Take
from musicgen_space.settings import Settings
from musicgen_space.ui.live import LiveSound
from musicgen_space.ui.player import View, view
from musicgen_space.ui.progress import TakeProgress
from musicgen_space.ui.purse import Purse

__all__ = ["Studio"]

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_VIEWS = 0.25


class Studio:
    """The page's event handlers and what they share: backends, live sound, visitors.

    A *wish* is the page's fields in its order: backend, key, model, prompt and the numbers
    of ``LIMITS``. A key is used for the call it came with and kept nowhere.
    """

    def __init__(
        self,
        backends: dict[str, Backend],
        settings: Settings,
        live: LiveSound,
        cache_folder: str,
    ) -> None:
        self._backends = backends
        self._settings = settings
        self._live = live
        self._cache_folder = cache_folder
        self._allowance = Allowance(settings.segmind_takes_per_visitor)
        self._visits: dict[str | None, _Visit] = {}  # by browser session

    def begin(self, request: gr.Request, *wish: Any) -> tuple[Any, Any]:
        """Check the wish before it waits or costs anything; Generate becomes Stop."""
        visit = self._visit(request)
        try:
            backend, _ = self._understood(*wish)
            if isinstance(backend, HostedBackend):
                self._may_spend(backend, visit, request, own_key=bool(wish[1]))
        except MusicGenSpaceError as error:
            # Gradio shows errors as HTML, and this text may quote what somebody typed.
            raise gr.Error(html.escape(str(error)), print_exception=False) from None
        visit.stop.set()
        visit.stop = threading.Event()
        return gr.update(visible=False), gr.update(visible=True)

    def make(self, request: gr.Request, *wish: Any) -> Iterator[tuple[View, Any, Any]]:
        """Make the take; yields the player's view and, at the end, the seed and the money."""
        visit = self._visit(request)
        backend, music_request = self._understood(*wish)
        progress = TakeProgress(music_request, self._live, self._cache_folder)
        yield progress.view, gr.skip(), gr.skip()
        shown = time.monotonic()
        last: View = view("idle", "Stopped before there was any sound.")
        seed = gr.skip()
        try:
            for update in backend.generate(music_request, visit.stop):
                current = progress.add(update)
                if isinstance(update, Take):
                    last, seed = current, update.request.seed
                    visit.purse.pay(update.receipt)
                elif not isinstance(update, Progress | Loading) or (
                    time.monotonic() - shown > _SECONDS_BETWEEN_VIEWS
                ):
                    shown = time.monotonic()
                    yield current, gr.skip(), gr.skip()
        except MusicGenSpaceError as error:
            last = view("failed", str(error), title=music_request.prompt)
        except Exception:
            log.exception("A take failed")
            message = "Something went wrong here, not with your prompt. Please try again."
            last = view("failed", message, title=music_request.prompt)
        yield last, seed, gr.skip()
        if isinstance(backend, HostedBackend):
            yield gr.skip(), gr.skip(), self.money(request, wish[0], wish[1])

    def end(self) -> tuple[Any, Any]:
        """Stop becomes Generate again."""
        return gr.update(visible=True), gr.update(visible=False)

    def stop(self, request: gr.Request) -> None:
        """End the take of this browser session within a decoding step."""
        self._visit(request).stop.set()

    def leave(self, request: gr.Request) -> None:
        """The tab was closed: stop making its take and forget it."""
        self._visit(request).stop.set()
        self._visits.pop(request.session_hash, None)

    def money(self, request: gr.Request, backend_name: str, key: str) -> str:
        """What the chosen backend costs, in words, with the balance of the key if there is one."""
        backend = self._backend(backend_name)
        words = f"{backend.label}: {backend.about}"
        if not isinstance(backend, HostedBackend):
            return f"{words}."
        purse = self._visit(request).purse
        try:
            paying = backend.with_key(key) if key.strip() else backend
            if not paying.has_key:
                return f"{words}."
            if not key.strip() and self._settings.strangers:
                return f"{words}. It is on the owner of this page."
            purse.credits = paying.balance()
        except MusicGenSpaceError as error:
            return f"{words}. The balance is not known: {html.escape(str(error))}"
        return f"{words}, <strong>{purse.credits:.2f} credits</strong> left."

    def _may_spend(
        self, backend: HostedBackend, visit: _Visit, request: gr.Request, *, own_key: bool
    ) -> None:
        """Raise what speaks against spending somebody's credits now."""
        if not backend.has_key:
            raise UnusableKey(f"{backend.label} needs an API key: enter yours first.")
        if own_key or not self._settings.strangers:
            visit.purse.check(backend.typical_price)
        else:
            self._allowance.spend(_address_of(request))

    def _understood(
        self, backend_name: str, key: str, model: str, prompt: str, *knobs: Any
    ) -> tuple[Backend, MusicRequest]:
        """The wish as a backend and a checked request; raises ``MusicGenSpaceError``."""
        backend = self._backend(backend_name)
        offered = [choice.name for choice in backend.models()]
        if model not in offered:
            raise InvalidRequest("model", model, f"must be one of {offered}")
        numbers = dict(zip(LIMITS, knobs, strict=True))
        obeyed = {name: value for name, value in numbers.items() if name in backend.knobs}
        music_request = MusicRequest(prompt, **obeyed, model=model)
        if isinstance(backend, HostedBackend) and key.strip():
            backend = backend.with_key(key)
        return backend, music_request

    def _backend(self, name: str) -> Backend:
        backend = self._backends.get(name)
        if backend is None:
            raise InvalidRequest("backend", name, f"must be one of {[*self._backends]}")
        return backend

    def _visit(self, request: gr.Request) -> _Visit:
        return self._visits.setdefault(request.session_hash, _Visit())


class _Visit:
    """What is known of one browser session while its tab is open."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.purse = Purse()


def _address_of(request: gr.Request) -> str:
    """Who a visitor is, as far as their allowance goes: a session is renewed by a reload.

    Behind proxies it is the last public address that they noted, since a visitor can write
    anything before it.
    """
    noted = str(request.headers.get("x-forwarded-for", "")).split(",")
    for address in reversed([part.strip() for part in noted]):
        try:
            if ipaddress.ip_address(address).is_global:
                return address
        except ValueError:
            break
    return str(request.client.host)

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
from musicgen_space.backends.base import Backend, HostedBackend, Loading, Progress, Update
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

    def begin(self, request: gr.Request, *wish: Any) -> tuple[Any, Any, Any]:
        """Check the wish before it waits or costs anything; Generate becomes Stop.

        Only what was checked here can be made, once: ``make`` alone, which anybody can call
        over the network, finds no permit.
        """
        visit = self._visit(request)
        try:
            backend, _ = self._understood(*wish)
            if isinstance(backend, HostedBackend):
                self._may_spend(backend, wish[1], visit, request)
        except MusicGenSpaceError as error:
            # Gradio shows errors as HTML, and this text may quote what somebody typed.
            raise gr.Error(html.escape(str(error)), print_exception=False) from None
        visit.stop.set()
        visit.stop = threading.Event()
        visit.permit = _without_key(wish)
        return gr.update(visible=False), gr.update(visible=True), gr.update(interactive=False)

    def make(self, request: gr.Request, *wish: Any) -> Iterator[tuple[View, Any]]:
        """Make the take; yields the player's view and, at the end, the seed that was used."""
        visit = self._visit(request)
        stop, permit, visit.permit = visit.stop, visit.permit, None
        if permit != _without_key(wish):
            yield view("failed", "The settings changed meanwhile: press Generate again."), gr.skip()
            return
        backend, music_request = self._understood(*wish)
        progress = TakeProgress(music_request, self._live, self._cache_folder)
        yield progress.view, gr.skip()
        shown = time.monotonic()
        last: View = view("idle", "Stopped before there was any sound.")
        seed = gr.skip()
        try:
            for update in backend.generate(music_request, stop):
                if isinstance(update, Take):
                    visit.purse.pay(update.receipt)
                    last, seed = progress.add(update), update.request.seed
                    break
                current = progress.add(update)
                if not _comes_often(update) or time.monotonic() - shown > _SECONDS_BETWEEN_VIEWS:
                    shown = time.monotonic()
                    yield current, gr.skip()
        except MusicGenSpaceError as error:
            last = view("failed", str(error), title=music_request.prompt)
        except Exception:
            log.exception("A take failed")
            message = "Something went wrong here, not with your prompt. Please try again."
            last = view("failed", message, title=music_request.prompt)
        yield last, seed

    def end(self) -> tuple[Any, Any, Any]:
        """Stop becomes Generate again."""
        return gr.update(visible=True), gr.update(visible=False), gr.update(interactive=True)

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
            paying = _paid_by(backend, key)
            if not paying.has_key:
                return f"{words}."
            if not self._is_own(key):
                return f"{words}. It is on the owner of this page."
            purse.look_into(paying.balance())
        except MusicGenSpaceError as error:
            purse.look_into(None)
            return f"{words}. The balance is not known: {html.escape(str(error))}"
        return f"{words}, <strong>{purse.credits:.2f} credits</strong> left."

    def _is_own(self, key: str) -> bool:
        """Whether whoever is at the page spends their own credits, with this key or none."""
        return _is_given(key) or not self._settings.strangers

    def _may_spend(
        self, backend: HostedBackend, key: str, visit: _Visit, request: gr.Request
    ) -> None:
        """Raise what speaks against spending somebody's credits now."""
        if not backend.has_key:
            raise UnusableKey(f"{backend.label} needs an API key: enter yours first.")
        if self._is_own(key):
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
        if isinstance(backend, HostedBackend):
            backend = _paid_by(backend, key)
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
        self.permit: tuple[Any, ...] | None = None  # the wish that was checked, without its key


def _comes_often(update: Update) -> bool:
    """Whether another update of the kind follows at once: then not each need be shown."""
    downloading = isinstance(update, Loading) and update.fraction is not None
    return downloading or isinstance(update, Progress)


def _is_given(key: str | None) -> bool:
    return bool((key or "").strip())


def _paid_by(backend: HostedBackend, key: str) -> HostedBackend:
    """The backend paid by ``key``, or by the owner's key where none is given."""
    return backend.with_key(key) if _is_given(key) else backend


def _without_key(wish: tuple[Any, ...]) -> tuple[Any, ...]:
    """The wish with whether there is a key in place of the key, to be kept for a moment."""
    return (wish[0], _is_given(wish[1]), *wish[2:])


def _address_of(request: gr.Request) -> str:
    """Who a visitor is, as far as their allowance goes: a session is renewed by a reload.

    A peer with a public address is the visitor. Anybody else is a proxy, which has noted
    whom it speaks for: the last public address counts, since a visitor can write anything
    before it. Of an IPv6 address the network counts, which is what a home has.
    """
    noted = str(request.headers.get("x-forwarded-for", "")).split(",")
    peer = str(request.client.host)
    for address in [peer, *reversed([part.strip() for part in noted])]:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            break
        if ip.is_global:
            return str(ipaddress.ip_network((ip, 64 if ip.version == 6 else 32), strict=False))
    return peer

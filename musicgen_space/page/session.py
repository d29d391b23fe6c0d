"""What the page does when somebody presses something. Only here errors become ``gr.Error``."""

from __future__ import annotations

import html
import logging
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from cachetools import LRUCache

from musicgen_space.audio.clips import read_upload
from musicgen_space.backends import backend_named
from musicgen_space.backends.base import (
    Backend,
    Chunk,
    HostedBackend,
    Loading,
    Progress,
    Update,
)
from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest, MusicGenSpaceError, Stopped
from musicgen_space.library import Library
from musicgen_space.message import Message, as_json
from musicgen_space.page.billing.purse import Purse
from musicgen_space.page.billing.spending import Spending, is_given, paid_by
from musicgen_space.page.clip.own_sound import (
    CONTINUE,
    NOTHING_PICKED,
    Picked,
    clip_fields,
    new_sounds,
    picked,
    picked_stretch,
)
from musicgen_space.page.form.fields import FIELDS
from musicgen_space.page.player.finishing import MOST_TAKES
from musicgen_space.page.player.player import View, view, view_of_takes
from musicgen_space.page.player.progress import TakeProgress
from musicgen_space.page.player.shelf import Shelf
from musicgen_space.page.takes.own_takes import OwnTakes
from musicgen_space.page.visitors.audience import Audience
from musicgen_space.page.visitors.identity import address_of
from musicgen_space.page.visitors.page_work import PageWork
from musicgen_space.page.wishes.job import Job
from musicgen_space.page.wishes.wishes import Wish, Wishes
from musicgen_space.request import draw_seed, shortened
from musicgen_space.settings import Settings
from musicgen_space.take import Take

__all__ = ["BROKEN", "MOST_SESSIONS", "Studio", "introduction"]

log = logging.getLogger(__name__)

BROKEN = Message("Something went wrong here, not with your prompt. Please try again.")

# The fields of a wish; the last two are what is picked of the visitor's own sound, for what.
_WISH = ("backend", "key", "model", "prompt", *FIELDS, "own_sound", "use")
_MAKING = 6  # what an update of a wish has besides the player
_MOST_REMEMBERED = 50  # wishes of a session

_SECONDS_BETWEEN_VIEWS = 0.25
# The latest are kept. Gradio has 150 kB for each, and anybody can invent them.
MOST_SESSIONS = 1000
_LONGEST_NAME = 60  # characters of a sound's name that was a prompt


class Studio:
    """The page's event handlers and what they share: backends, takes, visitors.

    A *wish* is the page's fields in the order of ``_WISH``. A key is used for the call it came
    with and kept nowhere.
    """

    def __init__(
        self,
        backends: dict[str, Backend],
        settings: Settings,
        shelf: Shelf,
        library: Library | None = None,
        audience: Audience | None = None,
    ) -> None:
        self._backends = backends
        self._shelf = shelf
        self._audience = audience or Audience()
        self.sounds = new_sounds()
        self.work = PageWork()
        self.spending = Spending(settings)
        self.takes = OwnTakes(library, settings, backends)
        self._visits: LRUCache[str | None, _Visit] = LRUCache(MOST_SESSIONS)  # by browser session
        self._visiting = threading.Lock()

    def make(self, request: gr.Request, whose: Any, *wish: Any) -> Iterator[tuple[Any, ...]]:
        """Make a wish, unless that has been done: then the last update says so, and no more.

        The updates are those of ``make_again``.
        """
        with _told():
            job = self._understood(*wish)
        visit = self._visit(request)
        made = visit.made.get(job.fingerprint)
        if made is None:
            yield from self._make_all(request, whose, wish, job)
        else:
            yield *(gr.skip(),) * _MAKING, visit.next.shown(made)

    def make_next(
        self, request: gr.Request, whose: Any, keep_seed: bool, *wish: Any
    ) -> dict[str, Any]:
        """Have a wish made when what is being made is done; → the note of what waits.

        One that was asked for already gets a seed that is drawn, unless it is kept.
        """
        visit = self._visit(request)
        with _told():
            job = self._understood(*wish)
            if isinstance(job.backend, HostedBackend):  # a key is kept for no later call
                raise InvalidRequest("backend", job.backend.name, "makes one wish at a time")
            fields = _changed(wish, key="")
            if job.fingerprint in visit.asked and not keep_seed:
                fields = _changed(fields, seed=draw_seed(job.request.seed))
            visit.next.add(Wish(whose, fields, job.request.prompt))
        visit.asked[job.fingerprint] = None
        return visit.next.shown()

    def drop(self, request: gr.Request, asked: Any) -> dict[str, Any]:
        """Take back a wish that waits, by its ``id``; → the note of what still does."""
        waiting = self._visit(request).next
        waiting.drop(asked.get("id") if isinstance(asked, Mapping) else None)
        return waiting.shown()

    def another(
        self, request: gr.Request, whose: Any, keep_seed: bool, *wish: Any
    ) -> Iterator[tuple[Any, ...]]:
        """Make the wish with a seed that is drawn, and goes to the seed's field unless kept.

        The updates are those of ``make_again``, and that of the field.
        """
        yield from self._with_new_seed(request, whose, keep_seed, wish)

    def variations(
        self, request: gr.Request, whose: Any, keep_seed: bool, *wish: Any
    ) -> Iterator[tuple[Any, ...]]:
        """The same, as many of them as can be compared."""
        changes = {"variations": MOST_TAKES}
        yield from self._with_new_seed(request, whose, keep_seed, wish, **changes)

    def _with_new_seed(
        self, request: gr.Request, whose: Any, keep_seed: bool, wish: Sequence[Any], **changes: Any
    ) -> Iterator[tuple[Any, ...]]:
        drawn = draw_seed(wish[_WISH.index("seed")])
        shown = gr.skip() if keep_seed else drawn
        for updates in self.make_again(request, whose, *_changed(wish, seed=drawn, **changes)):
            yield *updates, shown
            shown = gr.skip()

    def make_again(self, request: gr.Request, whose: Any, *wish: Any) -> Iterator[tuple[Any, ...]]:
        """Check the wish, which raises ``gr.Error`` before it waits or costs anything; make it.

        Then what waits is made. Yields updates of the player, the seed that was used last, the
        buttons Generate, Stop and Make next, a number that changes when credits were spent, and
        the note about wishes. What was finished is kept for ``whose`` it is, even if something
        fails after it.
        """
        with _told():
            job = self._understood(*wish)
        yield from self._make_all(request, whose, wish, job)

    def _make_all(
        self, request: gr.Request, whose: Any, wish: Sequence[Any], job: Job
    ) -> Iterator[tuple[Any, ...]]:
        """Make ``job``, which is the wish as it was understood, then what waits."""
        shown = yield from self._make(request, whose, wish, job)
        waiting = self._visit(request).next
        while shown and (wanted := waiting.take()):
            with _told():
                job = self._understood(*wanted.fields)
            shown = yield from self._make(request, wanted.whose, wanted.fields, job)

    def _make(
        self, request: gr.Request, whose: Any, wish: Sequence[Any], job: Job
    ) -> Generator[tuple[Any, ...], None, bool]:
        """Make one wish; → whether the page still shows it, and not another one."""
        visit, visitor = self._visit(request), address_of(request)
        with _told():
            self._check_money(visit, job.backend, wish[1], request)
        visit.stop.set()
        stop = visit.stop = threading.Event()
        visit.asked[job.fingerprint] = None
        visit.prompt = job.request.prompt
        progress = TakeProgress(job.request, self._shelf, visitor, visit.ended)
        last: View = view("idle", Stopped().told)
        seed = gr.skip()
        takes: list[Take] = []
        finished = False
        try:
            yield progress.view, gr.skip(), *_buttons(busy=True), gr.skip(), visit.next.shown()
            with self._audience.watching({str(request.session_hash)}, stop):
                for current in _views(job.updates(stop, visitor), progress, takes):
                    yield current, *(gr.skip(),) * _MAKING
            finished = True
        except MusicGenSpaceError as error:
            last = view("failed", error.told, title=job.request.prompt)
        except Exception:
            log.exception("A take failed")
            last = view("failed", BROKEN, title=job.request.prompt)
        finally:
            takes = [self.spending.without_balance(take, wish[1]) for take in takes]
            for take in takes:
                visit.purse.pay(take.receipt)
            kept, note = self.takes.keep(self.takes.seen(whose, request), takes)
            if not takes:
                progress.give_up()
        if visit.stop is not stop:  # the page shows another one by now
            yield (gr.skip(),) * (_MAKING + 1)  # else Gradio sends again what was the last
            return False
        if takes and finished:
            last, seed = progress.finish(takes, kept, note), takes[0].request.seed
            if job.fingerprint and not any(take.stopped for take in takes):
                made = {"take": last["take"], "kept": kept[:1]}
                visit.made[job.fingerprint] = made
                for alone, kept_as in zip(job.variations(), kept, strict=False):
                    visit.made[alone.fingerprint] = {**made, "kept": [kept_as]}
        spent = time.monotonic() if isinstance(job.backend, HostedBackend) else gr.skip()
        visit.ended = progress.view["take"]
        yield {**last, "ended": visit.ended}, seed, *_buttons(busy=False), spent, gr.skip()
        return True

    def stop(self, request: gr.Request) -> None:
        """End the take of this browser session within a decoding step."""
        self._visit(request).stop.set()

    def leave(self, request: gr.Request) -> None:
        """The tab was closed: stop making its take and forget it."""
        visit = self._visit(request)
        visit.next.clear()
        visit.stop.set()
        self.sounds.forget(visit.sound)
        with self._visiting:
            self._visits.pop(request.session_hash, None)

    def bring(self, request: gr.Request, path: str | None, use: str) -> Picked:
        """Read a sound that somebody chose or recorded; → it as the picker shows it."""
        if path is None:
            return NOTHING_PICKED
        with _told():
            return self._take_up(request, read_upload(Path(path)), use)

    def bring_take(self, request: gr.Request, asked: Any, use: str) -> Picked:
        """A kept take as somebody's own sound, to go on from it or to follow its melody."""
        asked = self.takes.seen(asked, request)
        with _told():
            [take] = self.takes.takes(asked, most=1).values()
            name = f"“{shortened(self.takes.entry(asked).name, _LONGEST_NAME)}”"
            # Whoever goes on from a take wants to keep what there is.
            whole = use == CONTINUE
            return self._take_up(request, Clip(take.samples, take.sample_rate, name), use, whole)

    def open_takes(self, request: gr.Request, asked: Any) -> View:
        """Kept takes in the player, to be heard and compared."""
        with _told():
            found = self.takes.takes(self.takes.seen(asked, request))
        takes = [*found.values()]
        key = self._shelf.start(address_of(request))
        self._shelf.finish(key, takes)
        return view_of_takes(takes, key, kept=[*found])

    def settings_of_take(self, request: gr.Request, asked: Any) -> Mapping[str, Any]:
        """What made a kept take."""
        with _told():
            return self.takes.entry(self.takes.seen(asked, request)).settings

    def is_new(self, request: gr.Request, prompt: str) -> bool:
        """Whether ``prompt`` was typed since the last wish of this browser session."""
        return bool(prompt.strip()) and prompt != self._visit(request).prompt

    def put_away(self, request: gr.Request) -> Picked:
        """Forget somebody's own sound."""
        visit = self._visit(request)
        self.sounds.forget(visit.sound)
        visit.sound = None
        return NOTHING_PICKED

    def use(self, shown: Picked, use: str) -> Picked:
        """Pick a sound's stretch anew, for another use."""
        key = str(shown.get("clip"))
        clip = self.sounds.get(key)
        return NOTHING_PICKED if clip is None else picked(key, clip, use)

    def choose_winner(self, request: gr.Request, whose: Any, event: gr.EventData) -> None:
        """The take that has won a blind comparison becomes a favourite, if it is kept."""
        try:
            kept = event.kept
        except (AttributeError, TypeError):  # a script told anything else
            return
        if kept:
            asked = {**whose, "ids": [kept]} if isinstance(whose, dict) else {}
            self.takes.favour_take(self.takes.seen({**asked, "favourite": True}, request))

    def money(self, request: gr.Request, backend_name: str, key: str) -> Any:
        """What the chosen backend costs, with the balance of the key if there is one.

        Sentences for ``sentences.js``.
        """
        backend = backend_named(self._backends, backend_name)
        sentences = introduction(backend, key)
        if isinstance(backend, HostedBackend):
            sentences += self._balance(self._visit(request).purse, backend, key)
        return as_json(sentences)

    def price(self, backend_name: str, key: str) -> Any:
        """What a take costs whoever asks, in two words, for the scripts' ``told``."""
        return as_json(self.price_of(backend_named(self._backends, backend_name), key))

    def price_of(self, backend: Backend, key: str = "") -> Message:
        """The same of a backend."""
        if not isinstance(backend, HostedBackend):
            return Message("free")
        if backend.has_key and not self.spending.is_own(key):
            return Message("free for you")
        return Message("about ${price:.2f}", price=backend.typical_price)

    def _balance(self, purse: Purse, backend: HostedBackend, key: str) -> list[Message]:
        """Who pays, or what is left, where there is anything to tell of it."""
        try:
            paying = paid_by(backend, key)
            if not paying.has_key:
                return []
            if not self.spending.is_own(key):
                return [Message("The page's owner pays for this.")]
            balance = paying.balance()
        except MusicGenSpaceError as error:
            purse.look_into(None)
            return [Message("The balance is not known: {reason}", reason=error.told)]
        purse.look_into(balance)
        return [Message("{credits:.2f} credits left.", credits=balance)]

    def _understood(self, backend_name: str, key: str, model: str, prompt: str, *rest: Any) -> Job:
        """What a wish asks for; raises ``MusicGenSpaceError``."""
        backend = backend_named(self._backends, backend_name)
        *fields, own_sound, use = rest
        given = zip(FIELDS, fields, strict=True)
        obeyed = {name: value for name, value in given if name in backend.knobs}
        stretch = None
        if use in backend.knobs:
            obeyed |= clip_fields(self.sounds, own_sound, use)
        elif CONTINUE in backend.knobs:
            stretch = picked_stretch(self.sounds, own_sound, use)
        music_request = backend.request({"prompt": prompt, **obeyed, "model": model})
        if isinstance(backend, HostedBackend):
            backend = paid_by(backend, key)
        job = Job(backend, music_request)
        return job.for_stretch(stretch) if stretch else job

    def _check_money(self, visit: _Visit, backend: Backend, key: str, request: gr.Request) -> None:
        """Raise what speaks against paying for a take now."""
        if isinstance(backend, HostedBackend):
            self.spending.check(backend, key, request, "enter yours first")
            if self.spending.is_own(key):
                visit.purse.check(backend.typical_price)

    def _take_up(self, request: gr.Request, clip: Clip, use: str, whole: bool = False) -> Picked:
        """Keep somebody's own sound in place of the one before; → it as the picker shows it."""
        shown = picked("", clip, use, whole=whole)
        self.put_away(request)
        visit = self._visit(request)
        visit.sound = self.sounds.add(clip, clip.samples.nbytes, address_of(request))
        return {**shown, "clip": visit.sound}

    def _visit(self, request: gr.Request) -> _Visit:
        """What is known of a session, which anybody can invent: the quietest are forgotten."""
        with self._visiting:
            visit: _Visit = self._visits.setdefault(request.session_hash, _Visit())
        return visit


class _Visit:
    """What is known of one browser session while its tab is open."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.purse = Purse()
        self.next = Wishes()
        self.ended = ""  # the id of what was made last
        self.prompt = ""  # of what was asked for last
        self.asked: LRUCache[str, None] = LRUCache(_MOST_REMEMBERED)
        self.made: LRUCache[str, dict[str, Any]] = LRUCache(_MOST_REMEMBERED)
        self.sound: str | None = None  # the id of the visitor's own sound


def introduction(backend: Backend, key: str = "") -> list[Message]:
    """What a place is, and where it takes a key that is not there yet, what becomes of that."""
    place = Message("{place}: {about}.", place=backend.label, about=backend.about)
    if not isinstance(backend, HostedBackend) or backend.has_key or is_given(key):
        return [place]
    return [place, Message("Your key stays in this tab. Make one at segmind.com under API keys.")]


def _changed(wish: Sequence[Any], **changes: Any) -> list[Any]:
    """A wish with other values in some of its fields."""
    return [changes.get(name, value) for name, value in zip(_WISH, wish, strict=True)]


def _buttons(*, busy: bool) -> tuple[Any, Any, Any]:
    """Updates of Generate, and of Stop and Make next in its place."""
    return gr.update(visible=not busy), gr.update(visible=busy), gr.update(visible=busy)


@contextmanager
def _told() -> Iterator[None]:
    """Errors of ours are told at the page."""
    try:
        yield
    except MusicGenSpaceError as error:
        # Gradio shows errors as HTML, and this text may quote what somebody typed.
        raise gr.Error(html.escape(str(error)), print_exception=False) from None


def _views(updates: Iterator[Update], progress: TakeProgress, takes: list[Take]) -> Iterator[View]:
    """What to show meanwhile, not too often; the finished ones are added to ``takes``."""
    shown = time.monotonic()
    for update in updates:
        if isinstance(update, Take):
            takes.append(update)
            continue
        silent = progress.is_silent
        current = progress.add(update)
        soon = not _comes_often(update) or silent != progress.is_silent
        if soon or time.monotonic() - shown > _SECONDS_BETWEEN_VIEWS:
            shown = time.monotonic()
            yield current


def _comes_often(update: Update) -> bool:
    """Whether another update of the kind follows at once: then not each need be shown."""
    downloading = isinstance(update, Loading) and update.fraction is not None
    return downloading or isinstance(update, Progress | Chunk)

"""A visitor's kept takes, as their page asks for them. Nothing that it sends is trusted."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from musicgen_space.audio.files import FORMATS, encode, formats_for
from musicgen_space.backends.base import Backend
from musicgen_space.clip import ClipFacts
from musicgen_space.errors import InvalidRequest, LibraryUnavailable, MusicGenSpaceError
from musicgen_space.library import Entry, Library
from musicgen_space.message import Message, Text, as_json
from musicgen_space.page.form.links import query_of
from musicgen_space.page.player.finishing import MOST_TAKES
from musicgen_space.page.player.player import (
    clip_facts,
    file_name,
    length_fact,
    replaced_facts,
    seed_fact,
)
from musicgen_space.page.visitors.account import Asking
from musicgen_space.page.visitors.identity import Visitors
from musicgen_space.request import CLIP_LIMITS
from musicgen_space.settings import Settings
from musicgen_space.take import OWN_SOUNDS, Replaced, Take

__all__ = ["PAGE", "Answer", "OwnTakes", "Row"]

log = logging.getLogger(__name__)

# What a row of the list shows: ``id``, ``name``, ``prompt``, ``facts`` (for the scripts'
# ``told``), ``created`` (ISO 8601), ``favourite``, ``peaks`` (percent) and ``sound``: whether
# somebody's own sound was in it, which settings alone don't bring back.
Row = dict[str, Any]
# What a page gets for what it asks: ``trouble`` (for ``told``) where that was not possible.
Answer = dict[str, Any]

PAGE = 30  # rows that are sent at a time

_MOST_IDS = 100
_LONGEST = 200  # characters of an id or of search words that are looked at
_EXPORT_SECONDS = 3600.0  # how long an export can be fetched
_SECONDS_OF_WORK, _SECONDS_OF_A_FAULT = 3, 30  # before a page asks again

_GONE = Message("This take is not there any more.")
_NO_ROOM = Message(
    "New takes can't be kept at the moment: the disk is full or read-only. Deleting some makes "
    "room."
)
_NOBODY = Message("This page doesn't know whose takes to show: reload it.")
_NO_TAKES = Message("There is nothing to export.")
_BUSY = Message("Other takes are being packed: try again in a moment.")
_NO_SPACE = Message("The server has no room for that at the moment.")
_ABOUT_PERSON = Message(
    "Kept on this page's server, for you wherever you sign in, until you delete them or until "
    "their room is used up."
)
_READING = Message("Earlier takes are still being read and appear here one after the other.")
_FAILING = Message(
    "The storage of takes doesn't work at the moment. Earlier ones may be missing, and what you "
    "make or change now is lost if this page restarts: download what you like."
)
_NOT_STORED = Message(
    "Not stored yet and lost if this page restarts, so download it: the storage of takes doesn't "
    "work at the moment."
)


class OwnTakes:
    """Keeps takes in ``library`` (None: keeps nothing) and finds those of whoever asks.

    Every method that takes what a page ``sent`` looks in it for its visitor first.
    """

    def __init__(
        self, library: Library | None, settings: Settings, backends: Mapping[str, Backend]
    ) -> None:
        self._library = library
        self._labels = {name: backend.label for name, backend in backends.items()}
        self._visitors = Visitors(settings)
        self._exports: dict[str, tuple[float, Path]] = {}  # by visitor
        self._exporting = threading.Lock()

    @property
    def strangers(self) -> bool:
        """Whether others than the owner can open the page."""
        return self._visitors.strangers

    @property
    def can_sign_in(self) -> bool:
        """Whether visitors can sign in, so that their takes follow them."""
        return self._visitors.accounts.are_possible

    def seen(self, sent: object, asking: Asking) -> object:
        """What a page ``sent``, with who has signed in there: to be passed on in its place."""
        return self._visitors.seen(sent, asking)

    def whose(self, sent: object, asking: Asking) -> str | None:
        """The library's name for whoever ``sent`` something; None: for nobody."""
        return self._visitors.name_of(self.seen(sent, asking))

    @property
    def are_kept(self) -> bool:
        """Whether there is a library at all."""
        return self._library is not None

    @property
    def are_lasting(self) -> bool:
        """Whether takes outlive the machine that this page is served by."""
        return self._library is not None and self._library.storage.lasting

    def keep(self, sent: object, takes: Sequence[Take]) -> tuple[list[str], Text]:
        """Keep what was made together; → ids, and what there is to say if something went wrong.

        Never raises: what can't be kept is on the page all the same.
        """
        visitor = self._visitors.name_of(sent)
        if self._library is None or visitor is None or not takes:
            return [], ""
        try:
            ids = self._library.keep(visitor, takes)
            return ids, _NOT_STORED if self._library.storage.failing else ""
        except LibraryUnavailable as error:
            log.error("Takes were not kept: %s", error)
            return [], Message(
                "Not kept in your takes, so download it. {reason}", reason=error.told
            )
        except Exception:  # above all a sound that FLAC can't hold
            log.exception("Takes were not kept")
            return [], Message("Not kept in your takes, so download it.")

    def takes(self, sent: object, most: int = MOST_TAKES) -> dict[str, Take]:
        """The first takes that are asked for as ``ids``, in that order; raises our errors."""
        visitor, library = self._known(sent)
        ids = _ids(sent)[:most]
        found = {id: library.take(visitor, id) for id in ids}
        takes = {id: take for id, take in found.items() if take is not None}
        if not takes:
            raise LibraryUnavailable(_GONE)
        return takes

    def entry(self, sent: object) -> Entry:
        """What is known of the first take that is asked for; raises our errors."""
        visitor, library = self._known(sent)
        entry = next((library.entry(visitor, id) for id in _ids(sent)[:1]), None)
        if entry is None:
            raise LibraryUnavailable(_GONE)
        return entry

    def list_takes(self, sent: object) -> Answer:
        """Rows that have ``words`` and follow the take ``after``, and how many there are.

        ``any`` says whether there are takes at all, found or not, and ``gone`` which of the
        ids that are ``marked`` to be compared are no longer those of takes. ``note`` is what
        there is to say of them all, if there is. Where that may soon be different, ask ``again``
        in so many seconds. ``person`` is the name of who has signed in, to whom those that this
        browser kept ``moved``.
        """

        def answer(visitor: str, library: Library) -> Answer:
            account = self._account(sent, visitor, library)
            words, after = _text(sent, "words"), _text(sent, "after")
            favourites = _field(sent, "favourites") is True
            found = library.search(visitor, words, favourites=favourites, limit=PAGE, after=after)
            count = library.count(visitor, words, favourites=favourites)
            there = bool(count) or library.count(visitor) > 0
            gone = [id for id in _marked(sent) if library.entry(visitor, id) is None]
            rows = [self._row(entry) for entry in found]
            found_all = {"rows": rows, "count": count, "any": there, "gone": gone}
            return {**found_all, **account, **_note(library)}

        return self._answer(sent, answer)

    def rename_take(self, sent: object) -> Answer:
        """Give a take another ``name``, "" for its prompt."""

        def answer(visitor: str, library: Library) -> Answer:
            return self._changed(library.rename(visitor, _id(sent), _text(sent, "name")))

        return self._answer(sent, answer)

    def favour_take(self, sent: object) -> Answer:
        """Make a take a favourite, or no longer one."""

        def answer(visitor: str, library: Library) -> Answer:
            yes = _field(sent, "favourite") is True
            return self._changed(library.set_favourite(visitor, _id(sent), yes))

        return self._answer(sent, answer)

    def delete_takes(self, sent: object) -> Answer:
        """Delete takes, which can be undone for a while."""
        return self._answer(
            sent, lambda visitor, library: {"ids": library.delete(visitor, _ids(sent))}
        )

    def restore_takes(self, sent: object) -> Answer:
        """Undo that."""
        return self._answer(
            sent, lambda visitor, library: {"ids": library.restore(visitor, _ids(sent))}
        )

    def export_takes(self, sent: object, folder: Path) -> Path | Answer:
        """All takes as one file in a new folder below ``folder``; one at a time is made.

        A visitor's next export takes the place of the last one.
        """
        made: list[Path] = []

        def answer(visitor: str, library: Library) -> Answer:
            if not library.count(visitor):
                return _trouble(_NO_TAKES)
            if not self._exporting.acquire(blocking=False):
                return _trouble(_BUSY)
            try:
                self._clear_exports(visitor)
                path = folder / secrets.token_urlsafe(24) / "musicgen-takes.zip"
                path.parent.mkdir(mode=0o700, parents=True)
                self._exports[visitor] = (time.monotonic(), path)
                library.export(visitor, path)
                made.append(path)
            finally:
                self._exporting.release()
            return {}

        trouble = self._answer(sent, answer)
        return made[0] if made else trouble

    def file_of_take(self, sent: object) -> tuple[bytes, str] | Answer:
        """The file of the take that is asked for, in a format by its ``ending``, and its name."""
        made: list[tuple[bytes, str]] = []

        def answer(visitor: str, library: Library) -> Answer:
            [take] = self.takes(sent, most=1).values()
            offered, wanted = formats_for(take), _text(sent, "ending")
            ending = wanted if wanted in offered else offered[0]
            made.append((encode(take, ending), f"{file_name(take)}.{ending}"))
            return {}

        trouble = self._answer(sent, answer)
        return made[0] if made else trouble

    def _clear_exports(self, visitor: str) -> None:
        """Remove the last export of ``visitor``, and everybody's that are old."""
        latest = time.monotonic() - _EXPORT_SECONDS
        for whose, (when, path) in [*self._exports.items()]:
            if whose == visitor or when < latest:
                del self._exports[whose]
                shutil.rmtree(path.parent, ignore_errors=True)

    def _account(self, sent: object, visitor: str, library: Library) -> Answer:
        """Who has signed in, if so; what their browser kept before is theirs from now on."""
        person, browser = self._visitors.person_of(sent), self._visitors.browser_of(sent)
        if person is None:
            return {}
        moved = browser is not None and library.move(browser, visitor)
        about = {"about": as_json(_ABOUT_PERSON)} if self.are_lasting else {}
        return {"person": person.name, "moved": bool(moved), **about}

    def _known(self, sent: object) -> tuple[str, Library]:
        visitor = self._visitors.name_of(sent)
        if self._library is None or visitor is None:
            raise LibraryUnavailable(_NOBODY)
        return visitor, self._library

    def _answer(self, sent: object, answer: Callable[[str, Library], Answer]) -> Answer:
        try:
            return answer(*self._known(sent))
        except MusicGenSpaceError as error:
            return _trouble(error.told)
        except OSError as error:
            log.error("An export failed: %s", error)
            return _trouble(_NO_SPACE)

    def _changed(self, entry: Entry | None) -> Answer:
        return _trouble(_GONE) if entry is None else {"row": self._row(entry)}

    def _row(self, entry: Entry) -> Row:
        return {
            "id": entry.id,
            "name": entry.name,
            "prompt": entry.prompt,
            "facts": as_json(self._facts(entry)),
            "created": entry.created.isoformat(),
            "favourite": entry.favourite,
            "peaks": entry.peaks,
            "batch": entry.batch,
            "formats": [*FORMATS],
            "link": query_of(entry.settings),
            "sound": any(entry.settings.get(field) for field in OWN_SOUNDS),
        }

    def _facts(self, entry: Entry) -> list[Text]:
        place = self._labels.get(entry.backend, entry.backend)
        parts = [seed_fact(entry.seed), length_fact(entry.duration, entry.stopped)]
        parts += [*_particulars(entry.settings), entry.model, place]
        if entry.cost is not None:
            parts.append(Message("{credits:.4g} credits", credits=entry.cost))
        return [part for part in parts if part]


def _particulars(settings: Mapping[str, Any]) -> Iterator[Message]:
    """What else was wished for: it tells takes of the same prompt apart."""
    clips = {field: ClipFacts.read(settings.get(field)) for field in CLIP_LIMITS}
    yield from clip_facts({field: clip for field, clip in clips.items() if clip})
    yield from islice(replaced_facts(Replaced.read(settings.get("replaced"))), 1)
    if settings.get("negative_prompt"):
        yield Message("without {words}", words=str(settings["negative_prompt"]))
    if settings.get("blend_prompt"):
        yield Message("turns into {words}", words=str(settings["blend_prompt"]))


def _note(library: Library) -> Answer:
    """What there is to say of all takes."""
    storage = library.storage
    if not library.writable:
        return {"note": as_json(_NO_ROOM)}
    if storage.failing:
        return {"note": as_json(_FAILING), "again": _SECONDS_OF_A_FAULT}
    if storage.reading:
        return {"note": as_json(_READING), "again": _SECONDS_OF_WORK}
    if storage.storing:
        return {"again": _SECONDS_OF_WORK}
    return {}


def _trouble(text: Text) -> Answer:
    return {"trouble": as_json(text)}


def _field(sent: object, name: str) -> object:
    return sent.get(name) if isinstance(sent, Mapping) else None


def _text(sent: object, name: str) -> str:
    value = _field(sent, name)
    return value[:_LONGEST] if isinstance(value, str) else ""


def _marked(sent: object) -> list[str]:
    """The ids that are ``marked``, as far as they can be."""
    marked = _field(sent, "marked")
    few = marked[:MOST_TAKES] if isinstance(marked, list) else []
    return [id for id in few if isinstance(id, str) and len(id) <= _LONGEST]


def _ids(sent: object) -> list[str]:
    """The ``ids`` that are asked for; raises ``InvalidRequest`` for anything but a few texts."""
    ids: Any = _field(sent, "ids")
    right = isinstance(ids, list) and 0 < len(ids) <= _MOST_IDS
    if not right or not all(isinstance(id, str) and len(id) <= _LONGEST for id in ids):
        raise InvalidRequest("ids", type(ids).__name__, f"must be those of 1 to {_MOST_IDS} takes")
    return list(ids)


def _id(sent: object) -> str:
    return _ids(sent)[0]

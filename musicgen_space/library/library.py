"""Kept takes: a FLAC file for each, listed with what made it in an index.

``folder/takes/<id>.flac`` is there before its row and goes after it: what is listed can be
heard, wherever the program is killed. What that leaves over is cleared away when the library
is opened. Several processes may have one folder open.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from musicgen_space.audio import encode, read_take
from musicgen_space.errors import InvalidRequest, LibraryUnavailable
from musicgen_space.library.archive import write_archive
from musicgen_space.library.entry import Entry
from musicgen_space.library.files import remove, sync_folder, write_whole
from musicgen_space.library.index import Record, TakeIndex
from musicgen_space.library.mending import mend, set_aside_unlisted
from musicgen_space.library.records import entry_of, key_of, record_of
from musicgen_space.library.room import NO_OBJECTS, drop_expired, make_room, one_of
from musicgen_space.library.trouble import in_our_words
from musicgen_space.library.words import all_in, findable, plain
from musicgen_space.request import Take, checked_text

__all__ = ["MAX_NAME_CHARACTERS", "UNDO_SECONDS", "Library"]

MAX_NAME_CHARACTERS = 120
UNDO_SECONDS = 600  # how long a deleted take can be restored


class Library:
    """Visitors' takes in ``folder``, which is made if it isn't there.

    ``visitor`` is a secret that its page knows; only its SHA-256 is stored. What is another
    visitor's can't be told from what isn't there. Any thread may call any method. All raise
    ``LibraryUnavailable`` when the disk or the index fails, and then lose nothing that was
    there. ``total_bytes`` and ``visitor_bytes`` (None: no limit) bound the sound files; see
    ``room.make_room`` for what goes when there are more.
    """

    def __init__(self, folder: Path, *, total_bytes: int, visitor_bytes: int | None) -> None:
        self._sounds = folder / "takes"
        self._total_bytes, self._visitor_bytes = total_bytes, visitor_bytes
        with in_our_words():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sounds.mkdir(mode=0o700, exist_ok=True)
            index = folder / "index.sqlite3"
            set_aside_unlisted(self._sounds, index, time.time())
            self._index = TakeIndex(index)
            try:
                with self._changing() as change:
                    mend(change.session, self._sounds, time.time())
                sync_folder(folder)
            except BaseException:
                self.close()
                raise

    def keep(self, visitor: str, takes: Sequence[Take]) -> list[str]:
        """Keep takes that were made together; → their ids. From then on no crash loses them.

        Of a clip that one continues or follows, only what its settings say is kept.
        """
        if not visitor:
            raise InvalidRequest("visitor", visitor, "must not be empty")
        ids = [secrets.token_urlsafe(16) for _ in takes]
        with in_our_words():
            try:
                self._keep(visitor, dict(zip(ids, takes, strict=True)))
            except BaseException:
                self._clear_unlisted(ids)
                raise
        return ids

    def search(
        self,
        visitor: str,
        words: str = "",
        *,
        favourites: bool = False,
        limit: int = 30,
        after: str = "",
    ) -> list[Entry]:
        """Up to ``limit`` takes, the newest first; those that follow the take ``after``, if given.

        Every one of ``words`` is somewhere in the name, the prompt or the model, in upper or
        lower case.
        """
        found = _found(visitor, words, favourites)
        if after:
            # A take that was deleted meanwhile still has a place, unless it is gone for good.
            place = select(Record.number).where(*_is(visitor, after)).scalar_subquery()
            found.append(Record.number < place)
        page = select(Record).where(*found).order_by(Record.number.desc()).limit(max(limit, 0))
        with in_our_words(), self._index.reading() as session:
            return [entry_of(record) for record in session.scalars(page)]

    def count(self, visitor: str, words: str = "", *, favourites: bool = False) -> int:
        """How many takes ``search`` would find without a limit."""
        found = _found(visitor, words, favourites)
        with in_our_words(), self._index.reading() as session:
            return session.scalar(select(func.count()).select_from(Record).where(*found)) or 0

    def entry(self, visitor: str, id: str) -> Entry | None:
        """What the list shows of a take; None if there is no such one."""
        with in_our_words(), self._index.reading() as session:
            record = _listed(session, visitor, id)
            return None if record is None else entry_of(record)

    def take(self, visitor: str, id: str) -> Take | None:
        """A kept take with its sound, in 16 bits; of its clips it only says what they were.

        Raises ``UnreadableAudio`` when something else has changed its file.
        """
        with in_our_words():
            with self._index.reading() as session:
                record = _listed(session, visitor, id)
            try:
                take = read_take(self._file(record.id).read_bytes()) if record else None
            except FileNotFoundError:  # it had to make room since
                return None
        if record is None or take is None:
            return None
        return dataclasses.replace(take, seconds_taken=record.seconds_taken, stopped=record.stopped)

    def rename(self, visitor: str, id: str, name: str) -> Entry | None:
        """Give a take a name of up to ``MAX_NAME_CHARACTERS``; "" is its prompt again.

        Raises ``InvalidRequest`` for a longer one.
        """
        name = checked_text("name", name, required=False, most=MAX_NAME_CHARACTERS)
        with self._changing() as change:
            record = _listed(change.session, visitor, id)
            if record is None:
                return None
            record.name, record.found_by = name, findable(name, record.prompt, record.model)
            return entry_of(record)

    def favour(self, visitor: str, id: str, yes: bool) -> Entry | None:
        """Make a take a favourite, or no longer one."""
        with self._changing() as change:
            record = _listed(change.session, visitor, id)
            if record is None:
                return None
            record.favourite = bool(yes)
            return entry_of(record)

    def delete(self, visitor: str, ids: Sequence[str]) -> list[str]:
        """Hide takes at once, and for good ``UNDO_SECONDS`` later; → those of ``ids`` it hid."""
        return self._mark(visitor, ids, Record.deleted.is_(None), time.time())

    def restore(self, visitor: str, ids: Sequence[str]) -> list[str]:
        """Take ``delete`` back while that is possible; → those of ``ids`` that are there again."""
        return self._mark(visitor, ids, Record.deleted.is_not(None), None)

    def export(self, visitor: str, path: Path) -> int:
        """Write all of a visitor's FLAC files and takes.json to a zip file; → how many."""
        every = select(Record).where(*_found(visitor)).order_by(Record.number.desc())
        with in_our_words():
            with self._index.reading() as session:
                entries = [entry_of(record) for record in session.scalars(every)]
            return write_archive(path, ((entry, self._file(entry.id)) for entry in entries))

    def close(self) -> None:
        """Let go of the index."""
        self._index.close()

    def _file(self, id: str) -> Path:
        return self._sounds / f"{id}.flac"

    def _keep(self, visitor: str, takes: dict[str, Take]) -> None:
        """Write the files of ``takes`` (by id), list them, and make room for them."""
        records: list[Record] = []
        for id, take in takes.items():
            data = encode(take, "flac")
            write_whole(self._file(id), data)
            batch = records[0].id if records else id
            records.append(record_of(visitor, take, id=id, batch=batch, size=len(data)))
        sync_folder(self._sounds)
        with self._changing() as change:
            for id in takes:
                self._file(id).stat()  # if this took very long, it may have been a leftover
            change.session.add_all(records)
            change.session.flush()
            change.gone += make_room(
                change.session,
                key_of(visitor),
                [*takes],
                total_bytes=self._total_bytes,
                visitor_bytes=self._visitor_bytes,
            )

    def _clear_unlisted(self, ids: Sequence[str]) -> None:
        """Remove the files of takes that could not be kept, if even that is possible."""
        with suppress(LibraryUnavailable), in_our_words(), self._index.writing() as session:
            listed = {*session.scalars(select(Record.id).where(one_of(ids)))}
            for id in set(ids) - listed:
                remove(self._file(id))

    def _mark(
        self, visitor: str, ids: Sequence[str], which: ColumnElement[bool], deleted: float | None
    ) -> list[str]:
        """Set when takes were deleted; → the ids of those that it concerns, in order."""
        wanted = dict.fromkeys(map(plain, ids))
        statement = (
            update(Record)
            .where(Record.visitor == key_of(visitor), one_of([*wanted]), which)
            .values(deleted=deleted)
            .returning(Record.id)
            .execution_options(**NO_OBJECTS)
        )
        with self._changing() as change:
            marked = {*change.session.scalars(statement)}
        return [id for id in wanted if id in marked]

    @contextmanager
    def _changing(self) -> Iterator[_Change]:
        """A short transaction; afterwards the files of the takes that it dropped go, too."""
        with in_our_words():
            with self._index.writing() as session:
                change = _Change(session, drop_expired(session, time.time() - UNDO_SECONDS))
                yield change
            for id in change.gone:
                remove(self._file(id))


@dataclass(slots=True)
class _Change:
    """What is being changed, and the ids of the takes that are gone for good with it."""

    session: Session
    gone: list[str]


def _is(visitor: str, id: str) -> list[ColumnElement[bool]]:
    return [Record.visitor == key_of(visitor), Record.id == plain(id)]


def _listed(session: Session, visitor: str, id: str) -> Record | None:
    return session.scalar(select(Record).where(*_is(visitor, id), Record.deleted.is_(None)))


def _found(visitor: str, words: str = "", favourites: bool = False) -> list[ColumnElement[bool]]:
    found = [Record.visitor == key_of(visitor), Record.deleted.is_(None), *all_in(words)]
    return [*found, Record.favourite.is_(True)] if favourites else found

"""Kept takes: a FLAC file for each, listed with what made it in an index.

``folder/takes/<id>.flac`` says in its tags all that the index knows of it; the file of a take
that was deleted is called ``<id>.deleted``. Files are changed before their rows, and only while
the index is locked: wherever the program is killed, the next start finds what there is. Nothing
but a person, an undo that ran out or a limit of bytes deletes a file. Several processes may have
one folder open.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from musicgen_space.audio.files import encode, read_take
from musicgen_space.errors import (
    InvalidRequest,
    LibraryDamaged,
    LibraryFull,
    LibraryUnavailable,
    LibraryUnwritable,
)
from musicgen_space.library.entry import Entry
from musicgen_space.library.export import write_archive
from musicgen_space.library.files import remove, set_aside, stamp_of, sync_folder, write_whole
from musicgen_space.library.index import ENDINGS, Record, TakeIndex
from musicgen_space.library.quota import Deletions, drop, make_room, one_of
from musicgen_space.library.records import MAX_NAME_CHARACTERS, entry_of, key_of, record_of
from musicgen_space.library.repair import DELETED, LISTED, mend
from musicgen_space.library.search import all_in, findable, plain
from musicgen_space.library.tags import with_tag
from musicgen_space.library.trouble import in_our_words
from musicgen_space.request import checked_text
from musicgen_space.take import Take

__all__ = ["MAX_NAME_CHARACTERS", "UNDO_SECONDS", "Library"]

log = logging.getLogger(__name__)

UNDO_SECONDS = 600  # how long a deleted take can be restored

_ATTEMPTS = 5  # to open an index that other processes may be making anew, too
_PROBE_BYTES = 2**16  # what there must be room for where takes are to be kept

_Result = TypeVar("_Result")


class Library:
    """Visitors' takes in ``folder``, which is made if it isn't there.

    ``visitor`` is a secret that its page knows; only its SHA-256 is stored. What is another
    visitor's can't be told from what isn't there. Any thread may call any method. All raise
    ``LibraryUnavailable`` when the disk or the index fails, and then lose nothing that was
    there. ``total_bytes`` and ``visitor_bytes`` (None: no limit) bound the sound files; see
    ``room.make_room`` for what goes when there are more. ``owner`` is the visitor who has the
    takes whose files don't say whose they are; None: they stay where they are, unlisted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        total_bytes: int,
        visitor_bytes: int | None,
        owner: str | None = None,
    ) -> None:
        self._sounds, self._aside = folder / "takes", folder / "set-aside"
        self._index_file = folder / "index.sqlite3"
        self._total_bytes, self._visitor_bytes = total_bytes, visitor_bytes
        self._owner = None if owner is None else key_of(owner)
        self._deletions, self._opening = Deletions(), threading.Lock()
        with in_our_words():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sounds.mkdir(mode=0o700, exist_ok=True)
            self._index = self._opened()
            sync_folder(folder)
        self._writable = _has_room(folder)

    @property
    def writable(self) -> bool:
        """Whether anything could be written, when that was last tried."""
        return self._writable

    def keep(self, visitor: str, takes: Sequence[Take]) -> list[str]:
        """Keep takes that were made together; → their ids. From then on no crash loses them.

        Of a clip that one continues or follows, only what its settings say is kept.
        """
        if not visitor:
            raise InvalidRequest("visitor", visitor, "must not be empty")
        sounds = {secrets.token_urlsafe(16): (take, encode(take, "flac")) for take in takes}
        try:
            gone = self._write(lambda session: self._keep(session, key_of(visitor), sounds))
        except BaseException:
            self._clear([*sounds])
            raise
        self._clear(gone)
        return [*sounds]

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
        self._clear_deleted()
        with self._index.reading() as session:
            return [entry_of(record) for record in session.scalars(page)]

    def count(self, visitor: str, words: str = "", *, favourites: bool = False) -> int:
        """How many takes ``search`` would find without a limit."""
        found = _found(visitor, words, favourites)
        with self._index.reading() as session:
            return session.scalar(select(func.count()).select_from(Record).where(*found)) or 0

    def entry(self, visitor: str, id: str) -> Entry | None:
        """What the list shows of a take; None if there is no such one."""
        with self._index.reading() as session:
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

        def change(record: Record) -> None:
            record.name, record.found_by = name, findable(name, record.prompt, record.model)

        return self._write(lambda session: self._changed(session, visitor, id, change))

    def favour(self, visitor: str, id: str, yes: bool) -> Entry | None:
        """Make a take a favourite, or no longer one."""

        def change(record: Record) -> None:
            record.favourite = bool(yes)

        return self._write(lambda session: self._changed(session, visitor, id, change))

    def delete(self, visitor: str, ids: Sequence[str]) -> list[str]:
        """Hide takes at once, and for good ``UNDO_SECONDS`` later; → those of ``ids`` it hid.

        Works on a full disk, too; there they go for good as soon as their room is needed.
        """
        return self._mark(visitor, ids, time.time())

    def restore(self, visitor: str, ids: Sequence[str]) -> list[str]:
        """Take ``delete`` back while that is possible; → those of ``ids`` that are there again."""
        return self._mark(visitor, ids, None)

    def export(self, visitor: str, path: Path) -> int:
        """Write all of a visitor's FLAC files and takes.json to a zip file; → how many."""
        every = select(Record).where(*_found(visitor)).order_by(Record.number.desc())
        with in_our_words():
            with self._index.reading() as session:
                entries = [entry_of(record) for record in session.scalars(every)]
            return write_archive(path, [(entry, self._file(entry.id)) for entry in entries])

    def close(self) -> None:
        """Let go of the index."""
        self._index.close()

    def _opened(self) -> TakeIndex:
        """The index, in line with the files. One that makes no sense is set aside before."""
        for _ in range(_ATTEMPTS):
            found = _file_at(self._index_file)
            try:
                return self._mended(TakeIndex(self._index_file))
            except LibraryDamaged as error:
                # Another process may have made a new one meanwhile.
                if _file_at(self._index_file) == found and not self._set_index_aside(error):
                    break
        return self._mended(TakeIndex(None))

    def _set_index_aside(self, error: LibraryDamaged) -> bool:
        """Move the index out of the way, if that is possible; → whether it was."""
        log.warning("%s What it said is read from the files of the takes.", error)
        try:
            for ending in ENDINGS:
                path = self._index_file.with_name(self._index_file.name + ending)
                if path.exists():
                    log.warning("It is kept as %s", set_aside(path, self._aside))
        except OSError as problem:
            log.warning("It can't be moved: %s", problem)
            return False
        return True

    def _mended(self, index: TakeIndex) -> TakeIndex:
        def work(session: Session) -> None:
            alone = not index.in_memory
            mend(session, self._sounds, self._aside, owner=self._owner, alone=alone)

        try:
            index.change(work, surely=True)
        except BaseException:
            index.close()
            raise
        return index

    def _file(self, id: str, ending: str = LISTED) -> Path:
        return self._sounds / f"{id}{ending}"

    def _change(self, work: Callable[[Session], _Result], *, surely: bool) -> _Result:
        """See ``TakeIndex.change``; with an index that is broken by now, in a new one."""

        def all_work(session: Session) -> _Result:
            result = work(session)
            session.flush()
            self._deletions.look(session)
            self._drop_deleted(session, self._deletions.older_than(UNDO_SECONDS))
            return result

        index = self._index
        try:
            return index.change(all_work, surely=surely)
        except LibraryDamaged:
            with self._opening:
                if self._index is index:
                    index.close()
                    self._index = self._opened()
        return self._index.change(all_work, surely=surely)

    def _write(self, work: Callable[[Session], _Result]) -> _Result:
        """Change what needs room; on a full disk, what was deleted makes room first."""
        try:
            try:
                result = self._change(work, surely=False)
            except LibraryFull:
                if not self._change(self._drop_all_deleted, surely=True):
                    raise
                result = self._change(work, surely=False)
        except LibraryUnwritable:
            self._writable = False
            raise
        self._writable = True
        return result

    def _keep(
        self, session: Session, visitor: bytes, sounds: Mapping[str, tuple[Take, bytes]]
    ) -> list[str]:
        """Write takes (by id) and list them; → the ids of those that made room for them."""
        batch, now = next(iter(sounds), ""), time.time()
        for place, (id, (take, data)) in enumerate(sounds.items()):
            created = now + place * 1e-6
            record = record_of(visitor, take, id=id, batch=batch, created=created)
            session.add(record)
            session.flush()
            self._write_file(record, data)
        sync_folder(self._sounds)
        session.flush()
        return make_room(
            session,
            visitor,
            [*sounds],
            total_bytes=self._total_bytes,
            visitor_bytes=self._visitor_bytes,
        )

    def _write_file(self, record: Record, data: bytes) -> None:
        """Write a take's file, or write it again, with what its row says of it."""
        path = self._file(record.id)
        write_whole(path, with_tag(data, record))
        file = path.stat()
        record.size, record.stamp = file.st_size, stamp_of(file)

    def _changed(
        self, session: Session, visitor: str, id: str, change: Callable[[Record], None]
    ) -> Entry | None:
        record = _listed(session, visitor, id)
        if record is None:
            return None
        try:
            data = self._file(record.id).read_bytes()
        except FileNotFoundError:
            return None
        change(record)
        if session.is_modified(record):
            self._write_file(record, data)
            sync_folder(self._sounds)
        return entry_of(record)

    def _mark(self, visitor: str, ids: Sequence[str], deleted: float | None) -> list[str]:
        """Set when takes were deleted; → the ids of those that it concerns, in order."""
        wanted = dict.fromkeys(map(plain, ids))
        other = Record.deleted.is_(None) if deleted is not None else Record.deleted.is_not(None)
        found = select(Record).where(Record.visitor == key_of(visitor), one_of([*wanted]), other)

        def work(session: Session) -> set[str]:
            marked = set()
            for record in session.scalars(found).all():
                if self._move(record.id, deleted is not None):
                    record.deleted = deleted
                    marked.add(record.id)
            sync_folder(self._sounds)
            return marked

        marked = self._change(work, surely=True)
        return [id for id in wanted if id in marked]

    def _move(self, id: str, away: bool) -> bool:
        """Give the file of a take the name of a deleted one, or back; → whether it has it."""
        old, new = (self._file(id, ending) for ending in (LISTED, DELETED)[:: 1 if away else -1])
        try:
            old.rename(new)
        except FileNotFoundError:  # something else has deleted it, or it has the name already
            return away or new.exists()
        except OSError as error:
            if not away or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            old.unlink()  # not even room for another name: it can't be brought back then
        return True

    def _clear(self, ids: Sequence[str]) -> None:
        """Remove the files of takes that are not listed, if that is possible."""
        if not ids:
            return
        with suppress(LibraryUnavailable), self._index.writing() as session:
            listed = {*session.scalars(select(Record.id).where(one_of(ids)))}
            for id in set(ids) - listed:
                remove(self._file(id))
                remove(self._file(id, DELETED))

    def _clear_deleted(self) -> None:
        """Remove takes for good that were deleted long enough ago."""
        if self._deletions.older_than(UNDO_SECONDS):
            with suppress(LibraryUnavailable):
                self._change(lambda session: None, surely=True)

    def _drop_all_deleted(self, session: Session) -> bool:
        """Remove takes for good that could still be restored; → whether there were any."""
        ids = [*session.scalars(select(Record.id).where(Record.deleted.is_not(None)))]
        if ids:
            log.info("Deleted takes made room, as the disk is full: %s", ids)
        self._drop_deleted(session, ids)
        return bool(ids)

    def _drop_deleted(self, session: Session, ids: Sequence[str]) -> None:
        # The files first: on a full disk they are what makes room.
        for id in ids:
            remove(self._file(id, DELETED))
        if ids:
            drop(session, ids)


def _is(visitor: str, id: str) -> list[ColumnElement[bool]]:
    return [Record.visitor == key_of(visitor), Record.id == plain(id)]


def _is_there() -> list[ColumnElement[bool]]:
    return [Record.deleted.is_(None), Record.size > 0]


def _listed(session: Session, visitor: str, id: str) -> Record | None:
    return session.scalar(select(Record).where(*_is(visitor, id), *_is_there()))


def _found(visitor: str, words: str = "", favourites: bool = False) -> list[ColumnElement[bool]]:
    found = [Record.visitor == key_of(visitor), *_is_there(), *all_in(words)]
    return [*found, Record.favourite.is_(True)] if favourites else found


def _file_at(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one that takes its place; None: there is none."""
    try:
        file = path.stat()
    except FileNotFoundError:
        return None
    return file.st_dev, file.st_ino


def _has_room(folder: Path) -> bool:
    """Whether something can be written there."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        log.warning("Takes can't be kept, those that are there can be heard: %s", error.strerror)
        return False
    return True

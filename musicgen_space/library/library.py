"""The library of takes: a FLAC file each, and an index.

``folder/takes/<id>.flac`` has all that the index knows in its tags; a deleted take's file is
``<id>.deleted``. Files are changed before their rows, and only while the index is locked, so
after a crash the next start can repair the index. Files are only deleted by a user, after the
undo period or by a quota. Several processes may open one folder.
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
from musicgen_space.library.entry import Entry, Storage
from musicgen_space.library.error_mapping import translate_errors
from musicgen_space.library.export import write_archive
from musicgen_space.library.files import file_stamp, remove, set_aside, sync_folder, write_whole
from musicgen_space.library.index import SUFFIXES, Record, TakeIndex
from musicgen_space.library.quota import Deletions, drop, make_room, one_of
from musicgen_space.library.records import (
    MAX_NAME_CHARACTERS,
    clamp_time,
    entry_of,
    hash_visitor,
    record_of,
)
from musicgen_space.library.repair import DELETED, LISTED, repair
from musicgen_space.library.search import matches_all_words, plain, searchable_text
from musicgen_space.library.tags import with_tag
from musicgen_space.request import checked_text
from musicgen_space.take import Take

__all__ = ["MAX_NAME_CHARACTERS", "UNDO_SECONDS", "Library"]

log = logging.getLogger(__name__)

UNDO_SECONDS = 600  # how long a deleted take can be restored

_ATTEMPTS = 5  # to open an index that other processes may be recreating
_PROBE_BYTES = 2**16  # written to test for free disk space

_Result = TypeVar("_Result")


class Library:
    """Visitors' takes in ``folder``, which is created if missing.

    ``visitor`` is a secret of the visitor's browser; only its SHA-256 is stored. Another
    visitor's takes look like ones that don't exist. Thread-safe. All methods raise
    ``LibraryUnavailable`` when the disk or the index fails, without losing existing takes.
    ``total_bytes`` and ``visitor_bytes`` (None: no limit) are quotas of the audio files; see
    ``quota.make_room`` for the order of eviction. ``owner`` is the visitor who gets takes
    whose files don't name one; None: they stay unlisted. ``lasting``: see ``Storage``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        total_bytes: int,
        visitor_bytes: int | None,
        owner: str | None = None,
        lasting: bool = True,
    ) -> None:
        self._lasting = lasting
        self._sounds, self._aside = folder / "takes", folder / "set-aside"
        self._index_file = folder / "index.sqlite3"
        self._total_bytes, self._visitor_bytes = total_bytes, visitor_bytes
        self._owner = None if owner is None else hash_visitor(owner)
        self._deletions, self._opening = Deletions(), threading.Lock()
        with translate_errors():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sounds.mkdir(mode=0o700, exist_ok=True)
            self._index = self._opened()
            sync_folder(folder)
        self._writable = _has_room(folder)

    @property
    def writable(self) -> bool:
        """Whether the last attempt to write succeeded."""
        return self._writable

    @property
    def storage(self) -> Storage:
        """Where takes are stored, and whether that works."""
        return Storage(lasting=self._lasting)

    def keep(self, visitor: str, takes: Sequence[Take]) -> list[str]:
        """Keep takes of one request durably; → their ids.

        Of their clips only the facts in the settings are kept.
        """
        if not visitor:
            raise InvalidRequest("visitor", visitor, "must not be empty")
        sounds = {secrets.token_urlsafe(16): (take, encode(take, "flac")) for take in takes}
        try:
            gone = self._write(lambda session: self._keep(session, hash_visitor(visitor), sounds))
        except BaseException:
            self._clear([*sounds])
            raise
        self._clear(gone)
        return [*sounds]

    def search(
        self,
        visitor: str,
        query: str = "",
        *,
        favourites: bool = False,
        limit: int = 30,
        after: str = "",
    ) -> list[Entry]:
        """Up to ``limit`` takes, the newest first; with ``after``, those that follow that take.

        Every word of ``query`` must be in the name, the prompt or the model, in any case.
        """
        found = _found(visitor, query, favourites)
        if after:
            # Also works for a take that was deleted meanwhile, as long as it has a row.
            place = select(Record.number).where(*_is(visitor, after)).scalar_subquery()
            found.append(Record.number < place)
        page = select(Record).where(*found).order_by(Record.number.desc()).limit(max(limit, 0))
        self._drop_expired()
        with self._index.reading() as session:
            return [entry_of(record) for record in session.scalars(page)]

    def count(self, visitor: str, query: str = "", *, favourites: bool = False) -> int:
        """The number of takes that ``search`` would find without a limit."""
        found = _found(visitor, query, favourites)
        with self._index.reading() as session:
            return session.scalar(select(func.count()).select_from(Record).where(*found)) or 0

    def entry(self, visitor: str, id: str) -> Entry | None:
        """A take's entry; None if it does not exist."""
        with self._index.reading() as session:
            record = _listed(session, visitor, id)
            return None if record is None else entry_of(record)

    def take(self, visitor: str, id: str) -> Take | None:
        """A kept take with its samples, in 16 bits and without its clips' audio; None if missing.

        Raises ``UnreadableAudio`` if its file was damaged from outside.
        """
        with translate_errors():
            with self._index.reading() as session:
                record = _listed(session, visitor, id)
            try:
                take = read_take(self._file(record.id).read_bytes()) if record else None
            except FileNotFoundError:  # evicted meanwhile
                return None
        if record is None or take is None:
            return None
        return dataclasses.replace(
            take,
            name=record.name,
            seconds_taken=record.seconds_taken,
            stopped=record.stopped,
        )

    def rename(self, visitor: str, id: str, name: str) -> Entry | None:
        """Rename a take, up to ``MAX_NAME_CHARACTERS``; "" restores its prompt as the name.

        Raises ``InvalidRequest`` for a longer one.
        """
        name = checked_text("name", name, required=False, most=MAX_NAME_CHARACTERS)

        def change(record: Record) -> None:
            record.name, record.found_by = name, searchable_text(name, record.prompt, record.model)

        return self._write(lambda session: self._changed(session, visitor, id, change))

    def set_favourite(self, visitor: str, id: str, yes: bool) -> Entry | None:
        """Mark a take as a favourite, or not."""

        def change(record: Record) -> None:
            record.favourite = bool(yes)

        return self._write(lambda session: self._changed(session, visitor, id, change))

    def delete(self, visitor: str, ids: Sequence[str]) -> list[str]:
        """Delete takes, for good after ``UNDO_SECONDS``; → those of ``ids`` that were deleted.

        Works on a full disk, where they go for good as soon as space is needed.
        """
        return self._mark(visitor, ids, time.time())

    def restore(self, visitor: str, ids: Sequence[str]) -> list[str]:
        """Undo ``delete`` while possible; → those of ``ids`` that were restored."""
        return self._mark(visitor, ids, None)

    def move(self, visitor: str, to: str) -> int:
        """Give a visitor's takes to another, those that were deleted too; → how many.

        What is more than a visitor may have goes when the next take is kept.
        """
        theirs = select(Record).where(Record.visitor == hash_visitor(visitor), Record.size > 0)
        with self._index.reading() as session:
            if session.scalar(theirs.limit(1)) is None:
                return 0

        def work(session: Session) -> int:
            moved = 0
            for record in session.scalars(theirs).all():
                suffix = LISTED if record.deleted is None else DELETED
                with suppress(FileNotFoundError):  # deleted from outside
                    data = self._file(record.id, suffix).read_bytes()
                    record.visitor = hash_visitor(to)
                    self._write_file(record, data, suffix)
                    moved += 1
            sync_folder(self._sounds)
            return moved

        return self._write(work)

    def export(self, visitor: str, path: Path) -> int:
        """Write all of a visitor's FLAC files and takes.json to a zip file; → their number."""
        every = select(Record).where(*_found(visitor)).order_by(Record.number.desc())
        with translate_errors():
            with self._index.reading() as session:
                entries = [entry_of(record) for record in session.scalars(every)]
            return write_archive(path, [(entry, self._file(entry.id)) for entry in entries])

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def _opened(self) -> TakeIndex:
        """Open and repair the index; a damaged one is set aside first."""
        for _ in range(_ATTEMPTS):
            found = _file_at(self._index_file)
            try:
                return self._repaired(TakeIndex(self._index_file))
            except LibraryDamaged as error:
                # Another process may have recreated it meanwhile.
                if _file_at(self._index_file) == found and not self._set_index_aside(error):
                    break
        return self._repaired(TakeIndex(None))

    def _set_index_aside(self, error: LibraryDamaged) -> bool:
        """Move the damaged index to the set-aside folder; → whether that worked."""
        log.warning("%s What it said is read from the files of the takes.", error)
        try:
            for suffix in SUFFIXES:
                path = self._index_file.with_name(self._index_file.name + suffix)
                if path.exists():
                    log.warning("It is kept as %s", set_aside(path, self._aside))
        except OSError as problem:
            log.warning("It can't be moved: %s", problem)
            return False
        return True

    def _repaired(self, index: TakeIndex) -> TakeIndex:
        def work(session: Session) -> None:
            alone = not index.in_memory
            added = repair(session, self._sounds, self._aside, owner=self._owner, alone=alone)
            if added:
                log.warning("Takes added to the index from their files: %d", added)

        try:
            index.change(work, surely=True)
        except BaseException:
            index.close()
            raise
        return index

    def _file(self, id: str, suffix: str = LISTED) -> Path:
        return self._sounds / f"{id}{suffix}"

    def _change(self, work: Callable[[Session], _Result], *, surely: bool) -> _Result:
        """See ``TakeIndex.change``; recreates the index if it turns out to be damaged."""

        def all_work(session: Session) -> _Result:
            result = work(session)
            session.flush()
            self._deletions.update(session)
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
        finally:
            self._changed_files()

    def _changed_files(self) -> None:
        """Called after every change, that of a file perhaps."""

    def _write(self, work: Callable[[Session], _Result]) -> _Result:
        """A change that needs disk space; on a full disk, deleted takes are dropped first."""
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
        """Write takes (by id) and their rows; → the ids of takes that were evicted."""
        batch, now = next(iter(sounds), ""), time.time()
        number = session.scalar(select(func.max(Record.number))) or 0
        for place, (id, (take, data)) in enumerate(sounds.items()):
            created = now + place * 1e-6
            # By the clock, so that takes which an index has not read yet come before new ones.
            number = max(number + 1, int(clamp_time(created) * 1e6))
            record = record_of(visitor, take, id=id, batch=batch, created=created, number=number)
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

    def _write_file(self, record: Record, data: bytes, suffix: str = LISTED) -> None:
        """Write a take's file with the tag of its row."""
        path = self._file(record.id, suffix)
        write_whole(path, with_tag(data, record))
        file = path.stat()
        record.size, record.stamp = file.st_size, file_stamp(file)

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
        """Set or clear when takes were deleted; → the affected ids, in order."""
        wanted = dict.fromkeys(map(plain, ids))
        changes = Record.deleted.is_(None) if deleted is not None else Record.deleted.is_not(None)
        found = select(Record).where(
            Record.visitor == hash_visitor(visitor), one_of([*wanted]), changes
        )

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
        """Rename a take's file to that of a deleted one, or back; → whether it has that name."""
        old, new = (self._file(id, suffix) for suffix in (LISTED, DELETED)[:: 1 if away else -1])
        try:
            old.rename(new)
        except FileNotFoundError:  # deleted from outside, or renamed already
            return away or new.exists()
        except OSError as error:
            if not away or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            old.unlink()  # no space even to rename: then it can't be restored
        return True

    def _clear(self, ids: Sequence[str]) -> None:
        """Delete the files of takes that have no row, if possible."""
        if not ids:
            return
        with suppress(LibraryUnavailable), self._index.writing() as session:
            listed = {*session.scalars(select(Record.id).where(one_of(ids)))}
            self._remove([*(set(ids) - listed)], LISTED, DELETED)

    def _remove(self, ids: Sequence[str], *suffixes: str) -> None:
        """Delete the files of takes for good, if possible."""
        for id in ids:
            for suffix in suffixes:
                remove(self._file(id, suffix))

    def _drop_expired(self) -> None:
        """Drop takes whose undo period is over."""
        if self._deletions.older_than(UNDO_SECONDS):
            with suppress(LibraryUnavailable):
                self._change(lambda session: None, surely=True)

    def _drop_all_deleted(self, session: Session) -> bool:
        """Drop all takes that could still be restored; → whether there were any."""
        ids = [*session.scalars(select(Record.id).where(Record.deleted.is_not(None)))]
        if ids:
            log.info("Deleted takes were dropped, as the disk is full: %s", ids)
        self._drop_deleted(session, ids)
        return bool(ids)

    def _drop_deleted(self, session: Session, ids: Sequence[str]) -> None:
        # The files first: on a full disk, that frees space for the transaction.
        self._remove(ids, DELETED)
        if ids:
            drop(session, ids)


def _is(visitor: str, id: str) -> list[ColumnElement[bool]]:
    return [Record.visitor == hash_visitor(visitor), Record.id == plain(id)]


def _is_listed() -> list[ColumnElement[bool]]:
    return [Record.deleted.is_(None), Record.size > 0]


def _listed(session: Session, visitor: str, id: str) -> Record | None:
    return session.scalar(select(Record).where(*_is(visitor, id), *_is_listed()))


def _found(visitor: str, query: str = "", favourites: bool = False) -> list[ColumnElement[bool]]:
    found = [Record.visitor == hash_visitor(visitor), *_is_listed(), *matches_all_words(query)]
    return [*found, Record.favourite.is_(True)] if favourites else found


def _file_at(path: Path) -> tuple[int, int] | None:
    """Identifies a file among those that replace it; None if there is none."""
    try:
        file = path.stat()
    except FileNotFoundError:
        return None
    return file.st_dev, file.st_ino


def _has_room(folder: Path) -> bool:
    """Whether files can be written to ``folder``."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        log.warning("Takes can't be kept, those that are there can be heard: %s", error.strerror)
        return False
    return True

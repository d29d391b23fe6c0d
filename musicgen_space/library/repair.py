"""Synchronises the index with the files when a library is opened.

The files are the truth; the index is a copy of their tags, which is repaired where it was lost,
is outdated, or a file was changed from outside. No file is ever deleted here: one that can't
be decoded is set aside, one that is not ours stays as it is, and a take whose file is missing
is hidden until the file is back.
"""

from __future__ import annotations

import logging
import secrets
import time
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from musicgen_space.audio.clips import decode
from musicgen_space.errors import LibraryDamaged, UnreadableAudio
from musicgen_space.library.files import PART, file_stamp, regular_files, set_aside, write_whole
from musicgen_space.library.index import Record
from musicgen_space.library.records import ID, clamp_time, is_valid
from musicgen_space.library.tags import read_record, with_tag

__all__ = ["DELETED", "LISTED", "repair"]

log = logging.getLogger(__name__)

# Suffixes of a take's file after its id, so that deletion is known without an index.
LISTED, DELETED = ".flac", ".deleted"


def repair(session: Session, sounds: Path, aside: Path, *, owner: bytes | None, alone: bool) -> int:
    """Update the rows of ``session``, a write transaction, from the files in ``sounds``.

    → how many of them are new. Files that can't be decoded go to ``aside``. ``owner`` (as in
    ``Record.visitor``) gets the takes whose files don't name a visitor; None: they stay
    unlisted. ``alone`` means that no other process is writing, so that ``*.part`` files are
    leftovers. Raises ``LibraryDamaged`` if the rows are invalid.
    """
    work = _Repair(session, sounds, aside, owner)
    work.match(alone)
    work.rename()
    work.update()
    work.hide_missing()
    return work.added


class _Repair:
    """Matches rows and files."""

    def __init__(self, session: Session, sounds: Path, aside: Path, owner: bytes | None) -> None:
        self._session, self._sounds, self._aside, self._owner = session, sounds, aside, owner
        self._rows = _rows_of(session)
        self.added = 0
        self._numbers = {row.number for row in self._rows.values()}
        self._names: dict[str, str] = {}  # take id → file name
        self._tagged: dict[str, bool] = {}  # take id → whether its file, if read, had our tag

    def match(self, alone: bool) -> None:
        """Find the file of each row, and create rows for files without one."""
        others = []
        for name, file in regular_files(self._sounds).items():
            row = self._row_of(name)
            if row is not None and row.stamp == file_stamp(file):
                if self._is_better(name, row.id):
                    self._names[row.id] = name
            elif alone or not name.endswith(PART):
                others.append((_rank(name), -file.st_mtime, name))
        read = [(name, *self._read(name, -age)) for _, age, name in sorted(others)]
        for name, record, tagged in sorted(read, key=lambda each: not each[2]):
            self._assign(name, record, tagged)  # a file's tag takes precedence over its name

    def rename(self) -> None:
        """Rename each file to the id of its take."""
        for id in [*self._names]:
            name, marked = self._names[id], self._rows[id].deleted is not None
            deleted = name.endswith(DELETED) or (marked and not self._tagged.get(id, True))
            try:
                self._rename(id, id + (DELETED if deleted else LISTED))
            except OSError as error:
                log.warning("The file %s of a take can't be renamed: %s", name, error)
                del self._names[id]

    def update(self) -> None:
        """Update the rows, and add our tag to the files without it."""
        for id, name in self._names.items():
            row = self._rows[id]
            row.deleted = (row.deleted or time.time()) if name.endswith(DELETED) else None
            if id in self._tagged:
                self._note(row, self._sounds / name)

    def hide_missing(self) -> None:
        """Hide rows without a file; delete those that were hidden at an earlier start.

        Nothing is lost: a file that comes back contains its row. If there are no files at
        all, the disk may not be mounted, so no row is deleted.
        """
        for row in [row for id, row in self._rows.items() if id not in self._names]:
            if row.deleted is not None or (not row.size and self._names):
                self._session.delete(row)
            elif row.size:
                log.warning("The file of the take %s is not there", row.id)
                row.size, row.stamp = 0, ""

    def _read(self, name: str, written: float) -> tuple[Record | None, bool]:
        """See ``_record_in``; a file of ours that can't be decoded is set aside."""
        path, ours = self._sounds / name, _id_in(name) is not None
        try:
            return self._record_in(name, written) if ours or _is_flac(path) else (None, False)
        except UnreadableAudio:
            if ours:
                self._set_aside(path)
        except OSError as error:
            log.warning("The file %s can't be read now: %s", path, error)
        return None, False

    def _assign(self, name: str, record: Record | None, tagged: bool) -> None:
        """Make a file that of its take, unless a better one is known."""
        if record is not None and self._is_better(name, record.id):
            self._names[record.id], self._tagged[record.id] = name, tagged
            self._take_over(record)
        elif name.endswith(PART) and (self._sounds / name).exists():
            self._set_aside(self._sounds / name)

    def _is_better(self, name: str, id: str) -> bool:
        """Whether a file takes precedence over the one known for the take ``id``."""
        known = self._names.get(id)
        return known is None or _rank(name) < _rank(known)

    def _record_in(self, name: str, written: float) -> tuple[Record | None, bool]:
        """The row by a file's tags, and whether it has our tag.

        Without enough tags the existing row, found by the file's name; else None.
        """
        data = (self._sounds / name).read_bytes()
        record, row = read_record(data), self._row_of(name)
        if record is not None and record.id:
            return record, True
        if row is not None:  # written by another program or an earlier version
            if record is None:
                decode(data)  # raises UnreadableAudio if it is damaged
            return row, False
        if record is None or self._owner is None or name.endswith(PART):
            return None, False
        record.id = record.batch = _id_in(name) or secrets.token_urlsafe(16)
        record.visitor, record.created = self._owner, clamp_time(written)
        return record, False

    def _take_over(self, record: Record) -> None:
        row = self._rows.get(record.id)
        if row is None:
            if record.number is None or record.number in self._numbers:
                record.number = max(self._numbers, default=0) + 1
            self._numbers.add(record.number)
            self._rows[record.id] = record
            self._session.add(record)
            self.added += 1
        elif row is not record:
            for column in Record.__table__.columns:
                if column.key not in ("number", "deleted", "size", "stamp"):
                    setattr(row, column.key, getattr(record, column.key))

    def _rename(self, id: str, right: str) -> None:
        name, path = self._names[id], self._sounds / right
        if name == right:
            return
        if path.exists():  # of another take, or a copy
            other = f"{path.stem}-{secrets.token_hex(4)}{path.suffix}"
            path.rename(path.with_name(other))
            self._names |= {each: other for each, now in self._names.items() if now == right}
        (self._sounds / name).rename(path)
        self._names[id] = right

    def _note(self, row: Record, path: Path) -> None:
        tagged = self._tagged[row.id]
        try:
            if not tagged:
                write_whole(path, with_tag(path.read_bytes(), row))
                tagged = True
        except OSError as error:
            log.warning("The tags of %s can't be written: %s", path, error)
        file = path.stat()
        row.size, row.stamp = file.st_size, file_stamp(file) if tagged else ""

    def _set_aside(self, path: Path) -> None:
        try:
            log.warning(
                "A file can't be decoded and was set aside: %s", set_aside(path, self._aside)
            )
        except OSError as error:
            log.warning("A file can't be decoded: %s (%s)", path, error)

    def _row_of(self, name: str) -> Record | None:
        return self._rows.get(_id_in(name) or "") if name.endswith((LISTED, DELETED)) else None


def _rows_of(session: Session) -> dict[str, Record]:
    try:
        rows = {row.id: row for row in session.scalars(select(Record))}
    except (ValueError, TypeError, OverflowError) as error:
        raise LibraryDamaged("The index of the takes is broken.") from error
    if not all(map(is_valid, rows.values())):
        raise LibraryDamaged("The index of the takes is broken.")
    return rows


def _id_in(name: str) -> str | None:
    """The take id in a file's name; None if the library did not name it."""
    stem, _, rest = name.partition(".")
    ours = f".{rest.removesuffix(PART)}" in (LISTED, DELETED) and ID.fullmatch(stem)
    return stem if ours else None


def _rank(name: str) -> int:
    """Precedence among files of one take: the lowest rank, then the newest."""
    if name.endswith((DELETED, PART)):
        return 2 if name.endswith(DELETED) else 3
    return 0 if _id_in(name) else 1


def _is_flac(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"fLaC"

"""Bringing index and files into line, when a library is opened.

The files say what there is; the index is a copy of their tags, which is mended where it was lost,
is older, or something else has changed a file. Nothing is deleted here, whatever the index or a
clock says: a file that can't be played is set aside, one that is not ours stays as it is, and a
take whose file is missing is not listed until the file is there again.
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
from musicgen_space.library.files import PART, found_in, set_aside, stamp_of, write_whole
from musicgen_space.library.index import Record
from musicgen_space.library.records import ID, makes_sense, moment
from musicgen_space.library.tags import read_record, with_tag

__all__ = ["DELETED", "LISTED", "mend"]

log = logging.getLogger(__name__)

# How the file of a take is called after its id. What was deleted is so without an index, too.
LISTED, DELETED = ".flac", ".deleted"


def mend(session: Session, sounds: Path, aside: Path, *, owner: bytes | None, alone: bool) -> None:
    """Make the rows of ``session``, a writing one, say what the files in ``sounds`` say.

    Files that can't be played go to ``aside``. ``owner`` (as a row's ``visitor``) has the takes
    whose files don't say whose they are; None: they are not listed. ``alone`` says that nobody
    else writes files now, so that half written ones are left over. Raises ``LibraryDamaged``
    where the rows make no sense.
    """
    mending = _Mending(session, sounds, aside, owner)
    mending.look(alone)
    mending.name()
    mending.list()
    mending.miss()


class _Mending:
    """The rows, and the files that are found to be theirs."""

    def __init__(self, session: Session, sounds: Path, aside: Path, owner: bytes | None) -> None:
        self._session, self._sounds, self._aside, self._owner = session, sounds, aside, owner
        self._rows = _rows_of(session)
        self._numbers = {row.number for row in self._rows.values()}
        self._names: dict[str, str] = {}  # of files, by the id of the take
        self._tagged: dict[str, bool] = {}  # of those that were read: whether they had our tag

    def look(self, alone: bool) -> None:
        """Find the file of each row, and the rows that some files lack."""
        before, others = len(self._rows), []
        for name, file in found_in(self._sounds).items():
            row = self._row_of(name)
            if row is not None and row.stamp == stamp_of(file):
                if self._goes_before(name, row.id):
                    self._names[row.id] = name
            elif alone or not name.endswith(PART):
                others.append((_rank(name), -file.st_mtime, name))
        read = [(name, *self._read(name, -age)) for _, age, name in sorted(others)]
        for name, record, tagged in sorted(read, key=lambda each: not each[2]):
            self._assign(name, record, tagged)  # what a file says counts more than its name
        if len(self._rows) > before:
            log.warning("Takes that the index did not know: %d", len(self._rows) - before)

    def name(self) -> None:
        """Call each file by the id of its take."""
        for id in [*self._names]:
            name, marked = self._names[id], self._rows[id].deleted is not None
            deleted = name.endswith(DELETED) or (marked and not self._tagged.get(id, True))
            try:
                self._rename(id, id + (DELETED if deleted else LISTED))
            except OSError as error:
                log.warning("The file %s of a take can't be renamed: %s", name, error)
                del self._names[id]

    def list(self) -> None:
        """Write down what is there: in the rows, and in the files that don't say it."""
        for id, name in self._names.items():
            row = self._rows[id]
            row.deleted = (row.deleted or time.time()) if name.endswith(DELETED) else None
            if id in self._tagged:
                self._note(row, self._sounds / name)

    def miss(self) -> None:
        """Let rows without a file wait for it, unless they have waited since an earlier start.

        Nothing depends on them: a file that comes back has in it what a row needs. Where there
        is no file at all, the disk may be away, and every row waits.
        """
        for row in [row for id, row in self._rows.items() if id not in self._names]:
            if row.deleted is not None or (not row.size and self._names):
                self._session.delete(row)
            elif row.size:
                log.warning("The file of the take %s is not there", row.id)
                row.size, row.stamp = 0, ""

    def _read(self, name: str, written: float) -> tuple[Record | None, bool]:
        """See ``_record_in``; what can't be played is set aside, if it was a file of ours."""
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
        """Make a file that of its take, unless there is a better one."""
        if record is not None and self._goes_before(name, record.id):
            self._names[record.id], self._tagged[record.id] = name, tagged
            self._take_over(record)
        elif name.endswith(PART) and (self._sounds / name).exists():
            self._set_aside(self._sounds / name)

    def _goes_before(self, name: str, id: str) -> bool:
        """Whether a file is to be the take ``id``, for which there may be another one already."""
        known = self._names.get(id)
        return known is None or _rank(name) < _rank(known)

    def _record_in(self, name: str, written: float) -> tuple[Record | None, bool]:
        """What a file says that its row should be, and whether it has our tag.

        Where it doesn't say enough, the row as it is; None if that isn't there either.
        """
        data = (self._sounds / name).read_bytes()
        record, row = read_record(data), self._row_of(name)
        if record is not None and record.id:
            return record, True
        if row is not None:  # another program made the file, or an earlier version of this one
            if record is None:
                decode(data)  # raises if it is broken
            return row, False
        if record is None or self._owner is None or name.endswith(PART):
            return None, False
        record.id = record.batch = _id_in(name) or secrets.token_urlsafe(16)
        record.visitor, record.created = self._owner, moment(written)
        return record, False

    def _take_over(self, record: Record) -> None:
        row = self._rows.get(record.id)
        if row is None:
            if record.number is None or record.number in self._numbers:
                record.number = max(self._numbers, default=0) + 1
            self._numbers.add(record.number)
            self._rows[record.id] = record
            self._session.add(record)
        elif row is not record:
            for column in Record.__table__.columns:
                if column.key not in ("number", "deleted", "size", "stamp"):
                    setattr(row, column.key, getattr(record, column.key))

    def _rename(self, id: str, right: str) -> None:
        name, path = self._names[id], self._sounds / right
        if name == right:
            return
        if path.exists():  # another take, or a second copy of one
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
        row.size, row.stamp = file.st_size, stamp_of(file) if tagged else ""

    def _set_aside(self, path: Path) -> None:
        try:
            log.warning("A file can't be played as a take: %s", set_aside(path, self._aside))
        except OSError as error:
            log.warning("A file can't be played as a take: %s (%s)", path, error)

    def _row_of(self, name: str) -> Record | None:
        return self._rows.get(_id_in(name) or "") if name.endswith((LISTED, DELETED)) else None


def _rows_of(session: Session) -> dict[str, Record]:
    try:
        rows = {row.id: row for row in session.scalars(select(Record))}
    except (ValueError, TypeError, OverflowError) as error:
        raise LibraryDamaged("The index of the takes is broken.") from error
    if not all(map(makes_sense, rows.values())):
        raise LibraryDamaged("The index of the takes is broken.")
    return rows


def _id_in(name: str) -> str | None:
    """The id that a file is named by; None: it is not one that the library has named."""
    stem, _, rest = name.partition(".")
    ours = f".{rest.removesuffix(PART)}" in (LISTED, DELETED) and ID.fullmatch(stem)
    return stem if ours else None


def _rank(name: str) -> int:
    """Of files that are the same take, the one with the lowest is it, then the newest."""
    if name.endswith((DELETED, PART)):
        return 2 if name.endswith(DELETED) else 3
    return 0 if _id_in(name) else 1


def _is_flac(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"fLaC"

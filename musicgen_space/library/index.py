"""The index of kept takes: a table in an SQLite file that several processes may open.

It can be rebuilt from the takes' files: see ``repair``. Knows nothing of audio.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import JSON, URL, Engine, Index, QueuePool, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from musicgen_space.errors import (
    LibraryDamaged,
    LibraryTooNew,
    LibraryUnavailable,
    LibraryUnwritable,
)
from musicgen_space.library.error_mapping import translate_errors
from musicgen_space.sqlite import set_up, writer

__all__ = ["SUFFIXES", "Record", "TakeIndex"]

SUFFIXES = ("", "-journal", "-wal", "-shm")  # of the files of an SQLite database

# Schema migrations: a file of version n needs the steps from n − 1 on.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    ("ALTER TABLE takes ADD COLUMN stamp VARCHAR NOT NULL DEFAULT ''",),
)
_VERSION = 1 + len(_MIGRATIONS)  # PRAGMA user_version; 0 is an empty file
_MAX_VERSION = 9999  # beyond it, the file is damaged

_BUSY_SECONDS = 60.0  # lock timeout: audio is written under the lock, on a slow disk perhaps

_Result = TypeVar("_Result")


class _Base(DeclarativeBase):
    pass


class Record(_Base):
    """A row per take; ``number`` increases with every take.

    ``visitor`` is the SHA-256 of the visitor's secret. ``name`` is "" unless the take was
    renamed, ``found_by`` the text that searches match. ``created`` and ``deleted`` are Unix
    times; a deleted take can be restored for a while. ``size`` is that of its file in bytes,
    0 while there is none. ``stamp`` is ``files.file_stamp`` of the file when it was last
    read; "" if it must be read again.
    """

    __tablename__ = "takes"
    __table_args__ = (
        Index("takes_listed", "visitor", "deleted", "number"),
        Index("takes_favourite", "visitor", "deleted", "favourite", "number"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    visitor: Mapped[bytes]
    deleted: Mapped[float | None]
    favourite: Mapped[bool]
    size: Mapped[int]
    found_by: Mapped[str]
    name: Mapped[str]
    prompt: Mapped[str]
    model: Mapped[str]
    backend: Mapped[str]
    seed: Mapped[int]
    duration: Mapped[float]
    seconds_taken: Mapped[float]
    cost: Mapped[float | None]
    created: Mapped[float]
    stopped: Mapped[bool]
    batch: Mapped[str]
    peaks: Mapped[bytes]
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    stamp: Mapped[str]


class TakeIndex:
    """Thread-safe sessions on the database at ``path`` (None: in memory).

    If the file can't be written, a copy in memory takes its place: the truth is in the takes'
    files. Raises ``LibraryDamaged`` for a damaged index, and ``LibraryTooNew`` for one of a
    later version, which is not modified.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._write_lock = threading.Lock()  # SQLite has one writer, and others would poll
        self.in_memory = path is None
        self._engine = _engine_of(path)
        try:
            _prepare(self._engine)
        except LibraryUnwritable:
            self._move_into_memory()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A read-only session."""
        with translate_errors(), Session(self._engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A write transaction, exclusive among threads and processes; also for takes' files.

        With an index in memory, other processes are not locked out.
        """
        with translate_errors(), self._write_lock, _writing(self._engine) as session:
            yield session

    def change(self, work: Callable[[Session], _Result], *, surely: bool) -> _Result:
        """Run ``work`` in a transaction; ``surely``: in memory if the disk fails."""
        try:
            with self.writing() as session:
                return work(session)
        except LibraryUnwritable as error:
            if self._path is not None and not self._path.exists():
                raise LibraryDamaged("The index of the takes was moved away.") from error
            if self.in_memory or not surely:
                raise
        self._move_into_memory()
        with self.writing() as session:
            return work(session)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _move_into_memory(self) -> None:
        with self._write_lock:
            if not self.in_memory:
                self.close()
                self._engine = _copy_of(self._path)
                self.in_memory = True


def _engine_of(path: Path | None) -> Engine:
    """An engine for the file at ``path``; None: a new database in memory."""
    engine = create_engine(
        URL.create("sqlite", database=None if path is None else str(path)),
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        poolclass=QueuePool,
        # One connection per thread; a database in memory exists in a single connection.
        pool_size=1 if path is None else 5,
        max_overflow=0 if path is None else -1,
        pool_timeout=_BUSY_SECONDS,
        hide_parameters=True,  # errors are shown to users, others' prompts must not be
    )
    # A persistent journal keeps its disk space. Not a WAL: it is lost when the file is copied
    # alone, and needs shared memory, which network drives lack.
    set_up(engine, "journal_mode = PERSIST")
    return engine


def _copy_of(path: Path | None) -> Engine:
    """An engine for an in-memory copy of the file at ``path``; empty if that can't be read."""
    engine = _engine_of(None)
    try:
        with translate_errors(), closing(sqlite3.connect(str(path), timeout=1)) as source:
            source.execute("PRAGMA locking_mode = EXCLUSIVE")  # no shared memory for a WAL
            with closing(engine.raw_connection()) as connection:
                source.backup(connection.driver_connection)  # type: ignore[arg-type]
        _prepare(engine)
    except LibraryUnavailable:
        engine.dispose()
        engine = _engine_of(None)
        _prepare(engine)
    return engine


@contextmanager
def _writing(engine: Engine) -> Iterator[Session]:
    with Session(writer(engine), expire_on_commit=False) as session, session.begin():
        session.connection()  # begin now, not with the first statement
        yield session


def _prepare(engine: Engine) -> None:
    """Create the table, or migrate it."""
    with translate_errors(), _writing(engine) as session:
        version = int(session.scalar(text("PRAGMA user_version")) or 0)
        if not 0 <= version <= _MAX_VERSION:
            raise LibraryDamaged("The index of the takes is broken.")
        if version > _VERSION:
            raise LibraryTooNew(str(Path(engine.url.database or "").parent))
        if session.scalar(text("PRAGMA integrity_check(1)")) != "ok":
            raise LibraryDamaged("The index of the takes is broken.")
        if version == 0:
            _Base.metadata.create_all(session.connection())
        for step in _MIGRATIONS[version - 1 :] if version else ():
            for statement in step:
                session.execute(text(statement))
        if version != _VERSION:
            session.execute(text(f"PRAGMA user_version = {_VERSION}"))

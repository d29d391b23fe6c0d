"""The list of kept takes: a table in an SQLite file, which several processes may open.

All of it can be made anew from the files of the takes: see ``mending``. Knows nothing of sound.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import JSON, URL, Connection, Engine, Index, QueuePool, create_engine, event, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from musicgen_space.errors import (
    LibraryDamaged,
    LibraryTooNew,
    LibraryUnavailable,
    LibraryUnwritable,
)
from musicgen_space.library.trouble import in_our_words

__all__ = ["ENDINGS", "Record", "TakeIndex"]

ENDINGS = ("", "-journal", "-wal", "-shm")  # of the files that an index consists of

# What makes an older file like a new one: a file of version n lacks the steps from n − 1 on.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    ("ALTER TABLE takes ADD COLUMN stamp VARCHAR NOT NULL DEFAULT ''",),
)
_VERSION = 1 + len(_MIGRATIONS)  # PRAGMA user_version; 0 is an empty file
_LAST_VERSION = 9999  # what is beyond was written by nobody

_BUSY_SECONDS = 60.0  # sounds are written meanwhile, and the disk may be slow

_Result = TypeVar("_Result")


class _Base(DeclarativeBase):
    pass


class Record(_Base):
    """A row for each take; ``number`` grows with every one that is kept.

    ``visitor`` is the SHA-256 of whose it is. ``name`` is "" unless one was given,
    ``found_by`` is what searches look at. ``created`` and ``deleted`` are seconds since
    1970; a take that was deleted stays for a while, in case it is wanted back. ``size`` is
    that of its file in bytes, 0 while there is none. ``stamp`` is what ``files.stamp_of`` said
    of the file when it was last read; "" if it is to be read again.
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
    """Sessions over the file at ``path`` (None: in memory), for any number of threads.

    Where that can't be written to, a copy of it in memory does: what is true of a take is in
    its file. Raises ``LibraryDamaged`` for an index that is broken, and ``LibraryTooNew`` for
    that of a later version, which is left as it is.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._turn = threading.Lock()  # SQLite lets one write, and makes others sleep and look
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
        """Look at the table as it is now."""
        with in_our_words(), Session(self._engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Change the table alone, until the end of the block; all of it, or nothing.

        While the index is on the disk, no other process changes the files of takes meanwhile.
        """
        with in_our_words(), self._turn, _writing(self._engine) as session:
            yield session

    def change(self, work: Callable[[Session], _Result], *, surely: bool) -> _Result:
        """``work`` in a ``writing`` session; ``surely``: again in memory, if the disk is full."""
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
        """Let go of the file."""
        self._engine.dispose()

    def _move_into_memory(self) -> None:
        with self._turn:
            if not self.in_memory:
                self.close()
                self._engine = _copy_of(self._path)
                self.in_memory = True


def _engine_of(path: Path | None) -> Engine:
    """An engine of the file at ``path``; None: of a new one in memory."""
    engine = create_engine(
        URL.create("sqlite", database=None if path is None else str(path)),
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        poolclass=QueuePool,
        # As many as there are threads; what is in memory is there for one connection.
        pool_size=1 if path is None else 5,
        max_overflow=0 if path is None else -1,
        pool_timeout=_BUSY_SECONDS,
        hide_parameters=True,  # errors are shown, prompts of others are not
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _copy_of(path: Path | None) -> Engine:
    """An engine of a copy in memory of the file at ``path``; it is empty if that can't be read."""
    engine = _engine_of(None)
    try:
        with in_our_words(), closing(sqlite3.connect(str(path), timeout=1)) as source:
            source.execute("PRAGMA locking_mode = EXCLUSIVE")  # a WAL needs no other file then
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
    writer = engine.execution_options(begin="IMMEDIATE")
    with Session(writer, expire_on_commit=False) as session, session.begin():
        session.connection()  # begins now rather than with the first statement
        yield session


def _prepare(engine: Engine) -> None:
    """Make the table, or bring it up to date."""
    with in_our_words(), _writing(engine) as session:
        version = int(session.scalar(text("PRAGMA user_version")) or 0)
        if not 0 <= version <= _LAST_VERSION:
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


def _configure(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin does
    # Nothing beside the file but a journal that stays, with its room on the disk: a WAL is lost
    # where a file is copied without it, and asks for memory that processes share, which
    # network drives don't have.
    connection.execute("PRAGMA journal_mode = PERSIST")
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    """Writers take the lock at once: one that first reads could not wait for it later."""
    mode = connection.get_execution_options().get("begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")

"""The list of kept takes: a table in an SQLite file, which several processes may open.

Knows nothing of sound.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, URL, Connection, Index, QueuePool, create_engine, event, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from musicgen_space.errors import LibraryTooNew

__all__ = ["Record", "TakeIndex"]

# What makes an older file like a new one: a file of version n lacks the steps from n − 1 on.
_MIGRATIONS: tuple[tuple[str, ...], ...] = ()
_VERSION = 1 + len(_MIGRATIONS)  # PRAGMA user_version; 0 is an empty file

_BUSY_SECONDS = 20.0


class _Base(DeclarativeBase):
    pass


class Record(_Base):
    """A row for each take; ``number`` grows with every one that is kept.

    ``visitor`` is the SHA-256 of whose it is. ``name`` is "" unless one was given,
    ``found_by`` is what searches look at. ``created`` and ``deleted`` are seconds since
    1970; a take that was deleted stays for a while, in case it is wanted back. ``size`` is
    that of its file in bytes.
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


class TakeIndex:
    """Sessions over the file at ``path``, for any number of threads."""

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
            poolclass=QueuePool,
            max_overflow=-1,  # as many as there are threads
            hide_parameters=True,  # errors are shown, prompts of others are not
        )
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(begin="IMMEDIATE")
        self._turn = threading.Lock()  # SQLite lets one write, and makes others sleep and look
        try:
            self._prepare(path)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Look at the table as it is now."""
        with Session(self._engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Change the table alone, until the end of the block; all of it, or nothing."""
        with self._turn, Session(self._writer, expire_on_commit=False) as session, session.begin():
            session.connection()  # begins now rather than with the first statement
            yield session

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def _prepare(self, path: Path) -> None:
        with self._writer.connect() as connection, connection.begin():
            version = int(connection.scalar(text("PRAGMA user_version")) or 0)
            if version > _VERSION:
                raise LibraryTooNew(str(path.parent))
            if version == 0:
                _Base.metadata.create_all(connection)
            for step in _MIGRATIONS[version - 1 :] if version else ():
                for statement in step:
                    connection.execute(text(statement))
            connection.execute(text(f"PRAGMA user_version = {_VERSION}"))


def _configure(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin does
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # in WAL, NORMAL may forget the last commits


def _begin(connection: Connection) -> None:
    """Writers take the lock at once: one that first reads could not wait for it later."""
    mode = connection.get_execution_options().get("begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")

"""The server's tables, in an SQLite file or in a PostgreSQL that several servers share.

The file is made when it is first needed. Times are Unix times, money is in millionths of a credit.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Engine,
    ForeignKey,
    Index,
    LargeBinary,
    UniqueConstraint,
    create_engine,
    make_url,
)
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from musicgen_space.errors import DatabaseUnavailable, InvalidSetting
from musicgen_space.server.migrations import bring_up_to_date, lock, version_of
from musicgen_space.sqlite import set_up, writer

__all__ = ["CLIP", "CREDIT", "OWNER", "PIECE", "Account", "Database", "Job", "Output", "Piece"]

CREDIT = 1_000_000  # millionths in one
OWNER = "owner"  # the account of whoever needs no key
CLIP = "clip"
PIECE = 2**18  # bytes of a file in one row: a reader needs memory for one at a time

_BUSY_SECONDS = 30.0
_CONNECT_SECONDS = 10


class _Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger}  # noqa: RUF012  (SQLAlchemy wants it so)


class Account(_Base):
    """Whoever makes music here: a key, or the owner of this machine.

    ``digest`` is the key's SHA-256 (the owner has none), ``scopes`` are separated by spaces. Of
    ``credits``, ``reserved`` are those of jobs that are not done. ``per_minute`` jobs may be
    asked for; ``used`` were in ``minute``. ``served`` is when its last job began.
    """

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    digest: Mapped[bytes | None] = mapped_column(unique=True)
    scopes: Mapped[str]
    credits: Mapped[int] = mapped_column(default=0)
    reserved: Mapped[int] = mapped_column(default=0)
    per_minute: Mapped[int]
    minute: Mapped[int] = mapped_column(default=0)
    used: Mapped[int] = mapped_column(default=0)
    served: Mapped[float] = mapped_column(default=0.0)
    created: Mapped[float]
    revoked: Mapped[float | None]

    @property
    def available(self) -> int:
        """What it can still spend."""
        return self.credits - self.reserved


class Job(_Base):
    """One take that was asked for; ``jobs`` has its states.

    ``idempotency`` and ``fingerprint`` are digests of what the client named the job and of what it
    asked for. ``worker`` makes it and has it until ``lease``, which it renews; whoever is to get
    the answer waits at ``waiter``, in the same way. ``output`` names its file, ``clips`` those
    that it is made with, by field.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("account", "idempotency"),
        Index("jobs_by_status", "status", "created"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    idempotency: Mapped[str | None]
    fingerprint: Mapped[str]
    model: Mapped[str]
    fields: Mapped[dict[str, Any]] = mapped_column(JSON)
    clips: Mapped[dict[str, str]] = mapped_column(JSON)
    format: Mapped[str]
    price: Mapped[int]
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None]
    lease: Mapped[float | None]
    waiter: Mapped[str | None]
    waiter_lease: Mapped[float | None]
    created: Mapped[float]
    started: Mapped[float | None]
    finished: Mapped[float | None]
    error: Mapped[str | None]
    output: Mapped[str | None]


class Output(_Base):
    """A file of sound, by an unguessable name; ``size`` is in bytes.

    ``format`` is that of a take, or ``CLIP`` for what a job is made with, as its client sent it.
    """

    __tablename__ = "outputs"

    name: Mapped[str] = mapped_column(primary_key=True)
    format: Mapped[str]
    size: Mapped[int]
    created: Mapped[float] = mapped_column(index=True)


class Piece(_Base):
    """``PIECE`` bytes of an output, the last one fewer; ``number`` counts from 0."""

    __tablename__ = "pieces"

    output: Mapped[str] = mapped_column(
        ForeignKey("outputs.name", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Database:
    """Sessions on the database at ``url``; all threads may use it.

    Raises ``InvalidSetting`` for a URL that makes no sense, later ``DatabaseUnavailable``.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine_of(url)
        self._lock = threading.Lock()
        self._prepared = False

    @property
    def is_there(self) -> bool:
        """Whether anything can be in it: an SQLite file may not have been made yet."""
        file = self._engine.url.database
        return self._engine.dialect.name != "sqlite" or (file is not None and Path(file).exists())

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads."""
        with _translated():
            self._prepare()
            with Session(self._engine) as session:
                yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction; what it loads can be read after it."""
        with _translated():
            self._prepare()
            with _transaction(self._engine) as session:
                yield session

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _prepare(self) -> None:
        with self._lock:
            if not self._prepared:
                _create(self._engine)
                self._prepared = True


def _engine_of(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            options: dict[str, Any] = {
                "connect_args": {"timeout": _BUSY_SECONDS, "check_same_thread": False}
            }
        else:
            options = {"pool_pre_ping": True, "pool_timeout": _BUSY_SECONDS}
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            if parsed.drivername == "postgresql+psycopg":
                options["connect_args"] = {"connect_timeout": _CONNECT_SECONDS}
        engine = create_engine(
            parsed, hide_parameters=True, pool_size=10, max_overflow=40, **options
        )
    except (ArgumentError, ImportError) as error:
        why = "is not one that SQLAlchemy reads"
        if isinstance(error, ImportError):
            why = "needs a driver: pip install 'musicgen-space[postgres]'"
        raise InvalidSetting(
            f"MUSICGEN_DATABASE must be the URL of a database: it {why}."
        ) from None
    if engine.dialect.name == "sqlite":
        set_up(engine, "foreign_keys = ON")
    return engine


@contextmanager
def _transaction(engine: Engine) -> Iterator[Session]:
    with Session(writer(engine), expire_on_commit=False) as session, session.begin():
        yield session


def _create(engine: Engine) -> None:
    """Make the tables and the owner's account, or bring older tables up to date."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        _write_ahead(engine)
    with _transaction(engine) as session:
        connection = session.connection()
        lock(connection)
        before = version_of(connection)
        _Base.metadata.create_all(connection)
        bring_up_to_date(connection, before)
        if session.get(Account, OWNER) is None:
            session.add(_owner())


def _owner() -> Account:
    return Account(id=OWNER, name=OWNER, scopes="music metrics", per_minute=0, created=0.0)


def _write_ahead(engine: Engine) -> None:
    """Let readers not wait for writers; said once, it is in the file."""
    deadline = time.monotonic() + _BUSY_SECONDS
    with closing(engine.raw_connection()) as connection:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:  # SQLite itself doesn't wait for this
                busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)


@contextmanager
def _translated() -> Iterator[None]:
    """Foreign errors as ours; a conflict of what is unique passes, as its callers expect it."""
    try:
        yield
    except IntegrityError:
        raise
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        raise DatabaseUnavailable(f"The server's database can't be used: {cause}.") from None

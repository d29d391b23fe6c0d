"""The versions of the server's tables: older ones are brought up to date when they are opened.

A step only adds: servers of the version before go on with the same database while they are
replaced, one after the other.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from musicgen_space.errors import DatabaseUnavailable

__all__ = ["bring_up_to_date", "lock", "version_of"]

# Tables of version n need the steps from n − 1 on, in SQL that SQLite and PostgreSQL read. New
# tables need none: SQLAlchemy makes them.
_STEPS: tuple[tuple[str, ...], ...] = ()
_LOCK = 0x6D757369  # PostgreSQL's number for what only one server does at a time


def lock(connection: Connection) -> None:
    """Be the only one who changes tables until the transaction ends: SQLite's writer is, anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def version_of(connection: Connection) -> int | None:
    """The version of the tables that are there; None where there are none.

    Raises ``DatabaseUnavailable`` for a later one than this program knows.
    """
    there = inspect(connection)
    if not there.has_table("schema_version"):
        return 1 if there.has_table("accounts") else None
    version = int(connection.scalar(text("SELECT version FROM schema_version")) or 1)
    if version > _latest():
        raise DatabaseUnavailable(
            f"The server's database has tables of version {version}, this program knows them up "
            f"to version {_latest()}: update it."
        )
    return version


def bring_up_to_date(connection: Connection, version: int | None) -> None:
    """Take the steps that tables of a ``version`` need; None: new tables, which need none."""
    for step in () if version is None else _STEPS[version - 1 :]:
        for statement in step:
            connection.execute(text(statement))
    if version != _latest() or not inspect(connection).has_table("schema_version"):
        connection.execute(text("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER)"))
        connection.execute(text("DELETE FROM schema_version"))
        connection.execute(text(f"INSERT INTO schema_version VALUES ({_latest()})"))


def _latest() -> int:
    return 1 + len(_STEPS)

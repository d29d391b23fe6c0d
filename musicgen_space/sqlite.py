"""SQLite by SQLAlchemy, with transactions that begin where they are said to."""

from __future__ import annotations

import sqlite3

from sqlalchemy import Connection, Engine, event

__all__ = ["set_up", "writer"]


def set_up(engine: Engine, *pragmas: str) -> None:
    """Prepare each connection: what a transaction wrote is on the disk once it has ended."""

    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # _begin starts transactions, not the driver
        for pragma in ("synchronous = FULL", *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", _begin)


def writer(engine: Engine) -> Engine:
    """For transactions that write: they lock at once, as a reader that becomes a writer later
    can't wait for its turn.
    """
    return engine.execution_options(begin="IMMEDIATE")


def _begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get("begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")

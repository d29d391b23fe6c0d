"""Maps errors of the file system and the database to ``LibraryUnavailable``."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from musicgen_space.errors import (
    LibraryDamaged,
    LibraryFull,
    LibraryUnavailable,
    LibraryUnwritable,
)

__all__ = ["translate_errors"]

_FULL = "the disk is full. What was kept is still there; free some space on it"
_READ_ONLY = "its folder can't be written to. MUSICGEN_LIBRARY can name another one"
_BUSY = "another program has been holding them for too long. Try again"

# Errors of a disk that can't be written. SQLite reports exceeded quotas and file size limits
# as SQLITE_IOERR, and only a full disk as SQLITE_FULL.
_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY_ERRNOS = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_READ_ONLY_CODES = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
)
# SQLITE_ERROR: the table is missing or has other columns.
_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})


@contextmanager
def translate_errors() -> Iterator[None]:
    """Re-raise errors of the disk and the database as ``LibraryUnavailable``."""
    try:
        yield
    except (UnicodeDecodeError, json.JSONDecodeError) as error:  # of text columns
        raise LibraryDamaged("The index of the takes is broken.") from error
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        kind, why = _classify(error)
        raise kind(f"The library of takes can't be used: {why}.") from error


def _classify(error: Exception) -> tuple[type[LibraryUnavailable], str]:
    if isinstance(error, DBAPIError) and isinstance(error.orig, Exception):
        return _classify(error.orig)
    if isinstance(error, sqlite3.Error):
        return _classify_sqlite(error)
    if isinstance(error, OSError):
        if error.errno in _FULL_ERRNOS:
            return LibraryFull, _FULL
        if error.errno in _READ_ONLY_ERRNOS:
            return LibraryUnwritable, _READ_ONLY
        return LibraryUnavailable, error.strerror or type(error).__name__
    return LibraryUnavailable, str(error)


def _classify_sqlite(error: sqlite3.Error) -> tuple[type[LibraryUnavailable], str]:
    extended = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    code = extended & 0xFF  # the primary one: https://sqlite.org/rescode.html
    if code in _DAMAGE_CODES:
        # Of text that isn't UTF-8 the module quotes all, and these words go into the log.
        return LibraryDamaged, str(error).partition(" with text ")[0]
    if extended == sqlite3.SQLITE_READONLY_DBMOVED:
        return LibraryDamaged, "its index was moved away"
    if code == sqlite3.SQLITE_FULL:
        return LibraryFull, _FULL
    if code in _READ_ONLY_CODES:
        return LibraryUnwritable, _READ_ONLY
    if code == sqlite3.SQLITE_IOERR:
        return LibraryUnwritable, "its disk fails"
    return LibraryUnavailable, _BUSY if code == sqlite3.SQLITE_BUSY else str(error)

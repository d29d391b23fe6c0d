"""Where errors of the file system and the database become ours."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from musicgen_space.errors import LibraryUnavailable

__all__ = ["in_our_words"]

_FULL = "the disk is full. What was kept is still there; free some space on it"
_READ_ONLY = "its folder can't be written to. MUSICGEN_LIBRARY can name another one"


@contextmanager
def in_our_words() -> Iterator[None]:
    """Raise ``LibraryUnavailable`` in place of what disks and databases raise."""
    try:
        yield
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        raise LibraryUnavailable(f"The library of takes can't be used: {_why(error)}.") from error


def _why(error: Exception) -> str:
    if isinstance(error, DBAPIError) and isinstance(error.orig, Exception):
        return _why(error.orig)
    if isinstance(error, sqlite3.Error):
        return _why_sqlite(error)
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _FULL
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return _READ_ONLY
        return error.strerror or type(error).__name__
    return str(error)


def _why_sqlite(error: sqlite3.Error) -> str:
    # An extended code has the primary one in its lowest byte: https://sqlite.org/rescode.html
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return _FULL
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _READ_ONLY
    if code == sqlite3.SQLITE_BUSY:
        return "another program has been holding them for too long. Try again"
    return str(error)

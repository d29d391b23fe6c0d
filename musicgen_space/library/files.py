"""Files that are there as a whole or not at all, whenever the power fails."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["PART", "found_in", "remove", "set_aside", "stamp_of", "sync_folder", "write_whole"]

PART = ".part"  # ends the name of a file that is being written


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, or put it in the place of one; it is there to stay after ``sync_folder``."""
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        remove(part)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names of the files in ``folder`` outlast a power failure."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows has no way to say it
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Delete a file, if that can be done: one that stays is found when the library is opened."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def set_aside(path: Path, folder: Path) -> Path:
    """Move a file to ``folder``, where its owner may find and repair it; → where it is now."""
    folder.mkdir(mode=0o700, exist_ok=True)
    aside = folder / f"{secrets.token_hex(4)}-{path.name}"  # nothing there is overwritten
    return path.rename(aside)


def found_in(folder: Path) -> dict[str, os.stat_result]:
    """The plain files in ``folder`` by name; others may come and go meanwhile."""
    found = {}
    with os.scandir(folder) as files:
        for file in files:
            with suppress(OSError):  # it went, or can't be looked at now
                if stat.S_ISREG(file.stat().st_mode):
                    found[file.name] = file.stat()
    return found


def stamp_of(file: os.stat_result) -> str:
    """What stays the same for as long as a file is neither changed nor moved.

    Times are only compared for being the same: a clock may say anything.
    """
    return f"{file.st_size} {file.st_mtime_ns} {file.st_ctime_ns}"

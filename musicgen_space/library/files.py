"""Atomic, durable file operations."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

__all__ = [
    "PART",
    "file_stamp",
    "regular_files",
    "remove",
    "set_aside",
    "sync_folder",
    "write_whole",
]

PART = ".part"  # suffix of a file that is being written


def write_whole(path: Path, data: bytes) -> None:
    """Write or replace a file atomically; durable after ``sync_folder``."""
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
    """Fsync ``folder``, so that renames in it survive a power failure."""
    if not hasattr(os, "O_DIRECTORY"):  # not possible on Windows
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Delete a file if possible; one that stays is found when the library is opened next."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def set_aside(path: Path, folder: Path) -> Path:
    """Move a file to ``folder``, where its owner may repair it; → its new path."""
    folder.mkdir(mode=0o700, exist_ok=True)
    aside = folder / f"{secrets.token_hex(4)}-{path.name}"  # overwrites nothing
    return path.rename(aside)


def regular_files(folder: Path) -> dict[str, os.stat_result]:
    """The regular files in ``folder`` by name; tolerates concurrent changes."""
    found = {}
    with os.scandir(folder) as files:
        for file in files:
            with suppress(OSError):  # deleted meanwhile, or not accessible
                if stat.S_ISREG(file.stat().st_mode):
                    found[file.name] = file.stat()
    return found


def file_stamp(file: os.stat_result) -> str:
    """Changes whenever the file is modified, replaced or renamed.

    Only to be compared for equality: clocks may be wrong.
    """
    return f"{file.st_size} {file.st_mtime_ns} {file.st_ctime_ns}"

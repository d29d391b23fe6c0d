"""Files that are there as a whole or not at all, whenever the power fails."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["found_in", "remove", "sync_folder", "write_whole"]


def write_whole(path: Path, data: bytes) -> None:
    """Write a new file; its name is there to stay only after ``sync_folder``."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("xb") as file:
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


def found_in(folder: Path) -> dict[str, os.stat_result]:
    """The files in ``folder`` by name; others may come and go meanwhile."""
    found = {}
    with os.scandir(folder) as files:
        for file in files:
            try:
                found[file.name] = file.stat()
            except FileNotFoundError:
                continue
    return found

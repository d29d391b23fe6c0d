"""Files of takes in a mounted bucket: an object store behind the calls of a file system.

What is written reaches the store seconds later and in any order; locks, ``fsync`` and memory maps
promise nothing. So a take is one file there, ``takes/<id>.flac``. It is only ever written whole
under another name, renamed, read and removed, and needs no other file.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from musicgen_space.library.files import PART, remove
from musicgen_space.library.records import ID

__all__ = ["Bucket", "is_mounted"]

_LISTED = ".flac"
_ABANDONED_SECONDS = 3600  # of a file that is being written: then its writer is gone


def is_mounted(folder: Path) -> bool:
    """Whether ``folder``, which need not be there, is on another file system than the root's."""
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        return there.stat().st_dev != Path(there.anchor).stat().st_dev
    except OSError:  # of a mount that does not work
        return True


class Bucket:
    """The takes in a bucket that is mounted at ``folder``. All methods raise ``OSError``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._takes = folder / "takes"
        path = folder.resolve()
        self._mount = next(each for each in (path, *path.parents) if os.path.ismount(each))

    def stamps(self) -> dict[str, str]:
        """By a take's id, a text that changes when its file does; the newest first."""
        if not os.path.ismount(self._mount):  # else takes would go where it has been
            raise OSError(errno.ENOTCONN, "it is no longer mounted", str(self._mount))
        self._takes.mkdir(parents=True, exist_ok=True)
        found = []
        for path in self._takes.iterdir():
            with suppress(FileNotFoundError):  # removed meanwhile
                file = path.stat()
                if _is_abandoned(path, file):
                    remove(path)
                elif path.suffix == _LISTED and ID.fullmatch(path.stem):
                    found.append((file.st_mtime, path.stem, _stamp(file)))
        return {id: stamp for _, id, stamp in sorted(found, reverse=True)}

    def stamp(self, id: str) -> str | None:
        """That of a take's file; None if there is none."""
        try:
            return _stamp(self._file(id).stat())
        except FileNotFoundError:
            return None

    def read(self, id: str) -> bytes:
        """A take's file."""
        return self._file(id).read_bytes()

    def write(self, id: str, data: bytes) -> str:
        """Write or replace a take's file; → its stamp."""
        part = self._takes / f"{id}.{secrets.token_hex(4)}{PART}"  # of this process alone
        try:
            part.write_bytes(data)
            part.replace(self._file(id))
        except BaseException:
            remove(part)
            raise
        return _stamp(self._file(id).stat())

    def remove(self, id: str) -> None:
        """Delete a take's file for good."""
        self._file(id).unlink(missing_ok=True)

    def _file(self, id: str) -> Path:
        return self._takes / f"{id}{_LISTED}"


def _stamp(file: os.stat_result) -> str:
    return f"{file.st_size} {file.st_mtime_ns}"


def _is_abandoned(path: Path, file: os.stat_result) -> bool:
    return path.suffix == PART and file.st_mtime < time.time() - _ABANDONED_SECONDS

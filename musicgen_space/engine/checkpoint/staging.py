"""Staging folders: files are written there and renamed into place once complete."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["remove_abandoned", "staging_folder"]

_PREFIX = "unfinished-"
_ABANDONED_AFTER = 3600  # seconds


@contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder in ``folder``, so that ``os.replace`` into it is atomic."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder) as path:
        yield Path(path)


def remove_abandoned(folder: Path) -> None:
    """Delete staging folders that killed processes left in ``folder``."""
    with suppress(OSError):  # another process may be faster
        for path in folder.glob(f"{_PREFIX}*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(path)

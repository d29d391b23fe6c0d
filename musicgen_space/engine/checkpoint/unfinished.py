"""Where files are written before they are whole, beside the place that they are for."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["tidy", "unfinished"]

_PREFIX = "unfinished-"
_AN_HOUR = 3600  # after which nobody is writing any more


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """A new folder in ``folder``, gone at the end; of writers that are killed ``tidy`` takes it."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder) as path:
        yield Path(path)


def tidy(folder: Path) -> None:
    """Delete what writers left in ``folder`` that were killed."""
    with suppress(OSError):  # another process may be faster
        for left in folder.glob(f"{_PREFIX}*"):
            if time.time() - left.stat().st_mtime > _AN_HOUR:
                shutil.rmtree(left)

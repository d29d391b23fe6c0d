"""Where files are written before they are whole, beside the place that they are for.

Whoever writes holds a lock, which ends with its process, however that ends.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["tidy", "unfinished"]

_PREFIX = "unfinished-"
_AN_HOUR = 3600  # after which nobody is writing any more, on Windows


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """A new folder in ``folder``, gone at the end; of writers that are killed ``tidy`` takes it."""
    with ExitStack() as ending:
        with _lock(folder):  # else it could be taken for a killed writer's before it is locked
            new = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder)
            path = Path(ending.enter_context(new))
            ending.enter_context(_lock(path))
        yield path


def tidy(folder: Path) -> None:
    """Delete what writers left in ``folder`` that were killed."""
    with suppress(OSError), _lock(folder):
        for left in folder.glob(f"{_PREFIX}*"):
            with suppress(OSError):  # somebody is writing there
                _delete(left)


if sys.platform == "win32":

    @contextmanager
    def _lock(_: Path) -> Iterator[None]:
        yield

    def _delete(left: Path) -> None:
        if time.time() - left.stat().st_mtime > _AN_HOUR:
            shutil.rmtree(left)

else:

    @contextmanager
    def _lock(folder: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        """Hold the lock of a folder; raises ``BlockingIOError``, if it isn't to be waited for."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def _delete(left: Path) -> None:
        with _lock(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(left)

"""A folder like a mounted bucket: what is written reaches the store late and in another order.

Between ``mount``, where a process reads and writes, and ``store``, what is left of it when that
process is killed. A file is carried over whole, as it is then: another one than was written first
perhaps, a half one perhaps. There are no locks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path


def mounted(store: Path, mount: Path) -> None:
    """What is in the store, as a process finds it that starts."""
    shutil.rmtree(mount, ignore_errors=True)
    shutil.copytree(store, mount)


def carry_over(mount: Path, store: Path) -> None:
    """From now on, in this process."""
    fcntl.flock = fcntl.lockf = fcntl.fcntl = _no_locks  # type: ignore[assignment]
    threading.Thread(target=_carry, args=(mount, store), daemon=True).start()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in (folder / "takes").glob("*")}


def _no_locks(*_: object) -> None:
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


def _carry(mount: Path, store: Path) -> None:
    chance, between = random.Random(), store.with_name("between")
    (store / "takes").mkdir(exist_ok=True)
    while True:
        time.sleep(chance.uniform(0, 0.004))
        name = chance.choice([*names_in(mount) | names_in(store), ""])
        source, target = mount / "takes" / name, store / "takes" / name
        if not name:
            continue
        with suppress(FileNotFoundError):
            if source.exists():
                between.write_bytes(source.read_bytes())
                between.replace(target)
            else:
                target.unlink()

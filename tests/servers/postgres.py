"""A PostgreSQL of its own on a socket in a temporary folder, where its programs are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_USER = "postgres"  # who runs it where the tests are root's: it refuses to be


def programs() -> Path | None:
    """The folder of its programs; None where there is none."""
    found = shutil.which("initdb")
    folders = [*([Path(found).parent] if found else []), *Path("/usr/lib").glob("postgresql/*/bin")]
    return next((each for each in folders if (each / "postgres").exists()), None)


@contextmanager
def postgres() -> Iterator[str]:
    """Run one; yields the address of its database."""
    bin_folder = programs()
    assert bin_folder is not None
    user = _USER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        data = folder / "data"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "user": user}
        options = ["-A", "trust", "-N", "-E", "UTF8", "--locale=C", "-U", _USER]
        subprocess.run([bin_folder / "initdb", "-D", data, *options], check=True, **quiet)  # type: ignore[call-overload]
        command = [bin_folder / "postgres", "-D", data, "-k", folder, "-h", "", "-F"]
        process = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
        try:
            while not (folder / ".s.PGSQL.5432").exists():
                assert process.poll() is None, "PostgreSQL ended"
                time.sleep(0.02)
            yield f"postgresql://{_USER}@/{_USER}?host={folder}"
        finally:
            process.send_signal(2)  # without waiting for its clients
            process.wait(30)

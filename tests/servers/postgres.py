"""A PostgreSQL of its own on a socket in a temporary folder, where its programs are installed."""

from __future__ import annotations

import os
import shutil
import signal
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
    folders = [*Path("/usr/lib").glob("postgresql/*/bin")]
    if found:
        folders.insert(0, Path(found).resolve().parent)
    return next((each for each in folders if (each / "pg_isready").exists()), None)


class Postgres:
    """One in ``folder``, at ``url``; it begins with ``start`` and ends with ``crash``."""

    def __init__(self, folder: Path) -> None:
        bin_folder = programs()
        assert bin_folder is not None
        self.url = f"postgresql://{_USER}@/{_USER}?host={folder}"
        self._folder, self._programs = folder, bin_folder
        self._user = _USER if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        options = ["-A", "trust", "-N", "-E", "UTF8", "--locale=C", "-U", _USER]
        self._run("initdb", *options).wait()
        self.start()

    def start(self) -> None:
        """Until it takes connections."""
        self._process = self._run("postgres", "-k", str(self._folder), "-h", "", "-F")
        command = [self._programs / "pg_isready", "-q", "-h", self._folder, "-U", _USER]
        while subprocess.run(command, check=False).returncode:
            assert self._process.poll() is None, "PostgreSQL ended"
            time.sleep(0.02)

    def crash(self) -> None:
        """End at once, in the middle of everything."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(60)

    def _run(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._programs / program, "-D", self._folder / "data", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
        )


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run one."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        server = Postgres(Path(folder))
        try:
            yield server
        finally:
            server.crash()

"""An API server in a process of its own, to be killed and started again.

``python -m tests.server.humming`` hums at 100 × real time; with the path of a file, ``#hold`` in a
prompt holds a job until that file is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from musicgen_space.process.termination import catch_termination
from musicgen_space.server.alone import serve_alone
from musicgen_space.server.service import Service
from musicgen_space.settings import Settings
from tests.browser.fast_page import Humming
from tests.server.fixtures import PRICE, Hum, free_port
from tests.servers.app import ROOT

LEASE = 3.0  # seconds until the next server takes up what a killed one has left


@dataclass
class ServerProcess:
    """The server over ``database``, always on the same port; it runs in the ``with`` block."""

    database: str
    go: Path | None = None
    at_once: int = 1
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Until it serves."""
        settings = {
            "MUSICGEN_DATABASE": self.database,
            "MUSICGEN_API_PRICE": str(PRICE),
            "MUSICGEN_AT_ONCE": str(self.at_once),
            "GRADIO_SERVER_PORT": str(self.port),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.server.humming", *([str(self.go)] if self.go else [])],
            cwd=ROOT, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """At once, in the middle of everything."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def holding(go: Path) -> Hum:
    """A backend that holds what it is to hold while ``go`` isn't there."""
    studio = Hum()

    def watch() -> None:
        while True:
            (studio.go.set if go.exists() else studio.go.clear)()
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    return studio


if __name__ == "__main__":
    backend = holding(Path(sys.argv[1])) if sys.argv[1:] else Humming()
    service = Service(Settings.from_environment(), backend, beat=0.2, lease=LEASE)
    service.start()
    with catch_termination() as told, serve_alone(service):
        print("ready", flush=True)
        told.awaited()

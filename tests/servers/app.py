"""The app over real HTTP, in a process of its own, as a user runs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(
    log: Path,
    *command: str,
    host: str = "127.0.0.1",
    path: str = "",
    python: Path = Path(sys.executable),
    cwd: Path = ROOT,
    **environment: str,
) -> Iterator[str]:
    """Run ``app.py`` as a user would, or another command; yields the page's address.

    ``host`` and ``path`` are where it is looked for, IPv6 in brackets.
    """
    folder = log.parent
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder / "files")}
    # Never those of whoever runs the tests.
    ours["MUSICGEN_LIBRARY"] = str(folder / "library")
    ours["MUSICGEN_DATABASE"] = f"sqlite:///{folder}/server.db"
    ours["XDG_CONFIG_HOME"] = str(folder / "config")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, *(command or ["app.py"])],
            cwd=cwd,
            env={**os.environ, **ours, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    address = f"http://{host}:{port}"
    try:
        deadline = time.monotonic() + 120
        while not answers(address + path):
            assert process.poll() is None, "the app ended before it served its page"
            assert time.monotonic() < deadline, "the app did not serve its page in time"
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(120)  # as patient as with its start


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (URLError, ConnectionError):
        return False

"""Whoever is told to end does so: at once or in good order, and without a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.app import ROOT, serving

SIGNALS = [signal.SIGINT, signal.SIGTERM]
SLOW = """
import os, sys, time
from musicgen_space.process.termination import exit_on_signals
exit_on_signals()
from musicgen_space import cli as command_line
from musicgen_space.audio import files
from tests.test_cli import Studio

def encode(*_):
    print("writing", os.environ["MPLCONFIGDIR"], file=sys.stderr, flush=True)
    time.sleep(60)

files.encode = encode
command_line.open_backends = lambda _: {"studio": Studio()}
sys.exit(command_line.main())
"""
PAGE = """
import os
from musicgen_space.process.termination import exit_on_signals
exit_on_signals()
from musicgen_space.library import Library
from musicgen_space.serve import serve
from musicgen_space.settings import Settings
from tests.test_cli import Studio

class Told(Studio):
    def close(self):
        print("backend closed", flush=True)

def close(library, close=Library.close):
    close(library)
    print("library closed", flush=True)

Library.close = close
print("process", os.getpid(), flush=True)
print("code", serve(Settings.from_environment(), lambda _: {"studio": Told()}))
"""


@contextmanager
def python(*command: str | Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, *command],
        stderr=subprocess.PIPE, cwd=ROOT, env={**os.environ, **environment},
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def said_until(process: subprocess.Popen[bytes], words: bytes) -> str:
    assert process.stderr is not None
    seen = b""
    while words not in seen:
        more = os.read(process.stderr.fileno(), 2**16)
        assert more, seen
        seen += more
    return seen.decode()


def said_since(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    said = process.stderr.read().decode()
    process.wait(30)
    return said


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", [("-m", "musicgen_space", "jazz"), ("app.py",)])
def test_imports_may_be_interrupted(command: tuple[str, ...], number: int) -> None:
    with python("-X", "importtime", *command) as process:
        said_until(process, b"numpy")
        process.send_signal(number)
        process.send_signal(number)
        *imports, line = said_since(process).splitlines()
        assert line == "Interrupted."
        assert not [other for other in imports[1:] if not other.startswith("import time:")]
        assert process.returncode == 128 + number


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_ends_even_the_writing_and_leaves_no_folder(
    number: int, tmp_path: Path
) -> None:
    output = ["jazz", "-o", tmp_path / "take.wav"]
    with python("-c", SLOW, *output, TMPDIR=str(tmp_path), MPLCONFIGDIR="") as process:
        folder = said_until(process, b"matplotlib\n").splitlines()[-1].removeprefix("writing ")
        assert Path(folder).parent.is_dir()
        assert Path(folder).is_relative_to(tmp_path)
        process.send_signal(number)
        while process.poll() is None:  # two that come at once are one
            process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        assert said_since(process) == "Interrupted.\n"
        assert process.returncode in (128 + number, 128 + signal.SIGTERM)
    assert not [*tmp_path.iterdir()]


def test_a_page_ends_in_good_order_while_somebody_listens(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(log, "-c", PAGE, GRADIO_TEMP_DIR="", TMPDIR=str(tmp_path)) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as listener:
            listener.sendall(b"GET /gradio_api/heartbeat/me HTTP/1.1\r\nHost: here\r\n\r\n")
            assert b"200 OK" in listener.recv(2**16)
            os.kill(int(log.read_text().split("process ")[1].split()[0]), signal.SIGTERM)
            while listener.recv(2**16):
                pass
        while "code" not in log.read_text():
            time.sleep(0.05)
    ending = log.read_text().split(f"The page is on {address}\n")[1]
    assert ending.splitlines() == ["backend closed", "library closed", "code 143"]
    assert not [*tmp_path.glob("musicgen-space-*")]


def test_what_a_library_still_does_in_a_thread_holds_nobody_up() -> None:
    program = """
import threading, time
from musicgen_space.process.termination import exit_now
threading.Thread(target=time.sleep, args=[600]).start()
print("written", end="")
exit_now(3)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (3, b"written")

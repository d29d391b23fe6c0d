"""The client side of AudioCraft's worker process: orders go in, replies come out."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from musicgen_space.errors import BackendError

__all__ = ["Reply", "WorkerDied", "WorkerProcess"]

_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of the worker; ``worker.py`` documents them."""

    kind: str
    facts: Mapping[str, Any]
    content: bytes


class WorkerDied(BackendError):
    """The process ended while a take was being made."""


class WorkerProcess:
    """A running worker. Raises ``BackendError`` when it can't be started."""

    def __init__(self, python: str, environment: Mapping[str, str]) -> None:
        try:
            self._process = subprocess.Popen(
                [python, str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C at the terminal is for us to handle
            )
        except OSError as error:
            raise BackendError(f"AudioCraft's Python {python} can't be started: {error}.") from None
        self._replies: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="audiocraft", daemon=True)
        self._reader.start()

    def order(self, order: str, **facts: Any) -> None:
        """Send an order; ``reply`` raises if the process is gone."""
        stdin = _pipe(self._process.stdin)
        with contextlib.suppress(OSError, ValueError):  # the worker has ended
            stdin.write(json.dumps({"order": order, **facts}).encode() + b"\n")
            stdin.flush()

    def reply(self, timeout: float) -> Reply | None:
        """The next reply; None after ``timeout`` seconds. Raises ``WorkerDied``."""
        try:
            reply = self._replies.get(timeout=timeout)
        except queue.Empty:
            return None
        if reply is None:
            self._replies.put(None)  # for the next caller
            raise WorkerDied(self._exit_reason())
        return reply

    def end(self) -> None:
        """Kill the process and wait for its end; idempotent."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        # Closing flushes an unread order, which may fail.
        with contextlib.suppress(OSError):
            _pipe(self._process.stdin).close()
        _pipe(self._process.stdout).close()

    def _read(self) -> None:
        stdout = _pipe(self._process.stdout)
        # A killed process may stop within a reply.
        while (line := stdout.readline()).endswith(b"\n"):
            facts = json.loads(line)
            content = stdout.read(facts["bytes"])
            if len(content) < facts["bytes"]:
                break
            self._replies.put(Reply(facts["answer"], facts, content))
        self._replies.put(None)

    def _exit_reason(self) -> str:
        code = self._process.wait()
        if code == -9:  # SIGKILL: what Linux does when memory runs out
            return (
                "AudioCraft's process was killed, most likely because the memory is full. "
                "Choose a smaller model or a shorter length."
            )
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"AudioCraft's process ended {how}; its log says why. The next take starts it again."


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise BackendError("AudioCraft's process has no pipes.")
    return pipe

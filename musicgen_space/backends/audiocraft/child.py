"""The process that AudioCraft runs in, seen from ours: orders go in, answers come out."""

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

__all__ = ["Answer", "Child", "Died"]

_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the worker; ``worker.py`` lists them with their facts."""

    kind: str
    facts: Mapping[str, Any]
    content: bytes


class Died(BackendError):
    """The process ended while a take was being made."""


class Child:
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
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="audiocraft", daemon=True)
        self._reader.start()

    def order(self, order: str, **facts: Any) -> None:
        """Send an order; that the process is gone is for ``answer`` to tell."""
        stdin = _pipe(self._process.stdin)
        with contextlib.suppress(OSError, ValueError):  # ended there, or ended here
            stdin.write(json.dumps({"order": order, **facts}).encode() + b"\n")
            stdin.flush()

    def answer(self, patience: float) -> Answer | None:
        """The next answer; None after ``patience`` seconds. Raises ``Died``."""
        try:
            answer = self._answers.get(timeout=patience)
        except queue.Empty:
            return None
        if answer is None:
            self._answers.put(None)  # for whoever asks next
            raise Died(self._last_words())
        return answer

    def end(self) -> None:
        """Kill the process and wait until all of it is gone; any number of times."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        # Closing flushes, and an order that nobody read can't be.
        with contextlib.suppress(OSError):
            _pipe(self._process.stdin).close()
        _pipe(self._process.stdout).close()

    def _read(self) -> None:
        stdout = _pipe(self._process.stdout)
        # A process that is killed may stop anywhere in an answer.
        while (line := stdout.readline()).endswith(b"\n"):
            facts = json.loads(line)
            content = stdout.read(facts["bytes"])
            if len(content) < facts["bytes"]:
                break
            self._answers.put(Answer(facts["answer"], facts, content))
        self._answers.put(None)

    def _last_words(self) -> str:
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

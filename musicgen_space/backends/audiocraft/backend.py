"""The backend "AudioCraft": MusicGen's original code, for comparison and for its own folders.

AudioCraft pins versions of torch, numpy and transformers that can't share a process with the
page, so it always runs in a process of its own, under the Python that has it. That also
means that a take that crashes, or can't be stopped, ends there and the page goes on.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from musicgen_space.backends.audiocraft.process import Reply, WorkerDied, WorkerProcess
from musicgen_space.backends.base import (
    Backend,
    Loading,
    ModelChoice,
    Progress,
    Update,
)
from musicgen_space.backends.local.folders import folder_of, is_folder
from musicgen_space.backends.local.published import PUBLISHED
from musicgen_space.backends.queue import TakeQueue
from musicgen_space.errors import (
    BackendError,
    InvalidCheckpoint,
    ModelUnavailable,
    OutOfMemory,
    is_out_of_memory,
)
from musicgen_space.message import Message
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings, environment_without_keys
from musicgen_space.take import Take

__all__ = ["AudioCraftBackend"]

_PUBLISHED = tuple(ModelChoice(each.choice.name, each.about) for each in PUBLISHED)
_NUMBERS = ("duration", "seed", "top_k", "top_p", "temperature", "guidance_scale")
_WEIGHTS = "state_dict.bin"  # AudioCraft's name of the language model's file
_LAST = ("take", "nothing", "error")  # the replies that end an order
_POLL_SECONDS = 0.1  # between checks for Stop
_STOP_PATIENCE = 5.0  # seconds for a step to end; loading is not interrupted by Stop


class AudioCraftBackend(Backend):
    """One take after another, each made by a process that has AudioCraft."""

    name = "audiocraft"
    label = "AudioCraft"
    about = Message("the original code, for comparison; no sound before the end")
    knobs = frozenset({"prompt", "model", *_NUMBERS})

    @classmethod
    def from_settings(cls, settings: Settings) -> AudioCraftBackend | None:
        """The backend, or None where there is no AudioCraft."""
        if settings.audiocraft_python:
            return cls(settings, settings.audiocraft_python)
        found = importlib.util.find_spec("audiocraft") is not None
        return cls(settings, sys.executable) if found else None

    def __init__(self, settings: Settings, python: str) -> None:
        self._settings = settings
        self._python = python
        self._queue = TakeQueue(settings)
        self._lock = threading.Lock()  # over the two below
        self._worker: WorkerProcess | None = None
        self._closed = False

    def models(self) -> list[ModelChoice]:
        """What AudioCraft publishes, and those of the owner's that it can read."""
        own = (name for name in self._settings.models if _readable(name))
        return [*_PUBLISHED, *(ModelChoice(name, "the owner's choice") for name in own)]

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        """See ``Backend.generate``; raises ``QueueFull`` when too many are waiting.

        AudioCraft does not stream: there are no ``Chunk``s. Stop during loading ends the
        process, and the next take loads again.
        """
        self.check(request)
        request = request.with_seed_drawn()
        name = request.model or self.models()[0].name
        order = {
            "model": _model_path(name),
            "prompt": request.prompt,
            "device": None if self._settings.device == "auto" else self._settings.device,
            "threads": self._settings.threads,
            **{number: getattr(request, number) for number in _NUMBERS},
        }
        with self._queue.joined(visitor, request) as ticket:
            yield from self._queue.waited(ticket, stop.is_set)
            if not stop.is_set() and not self._closed:
                yield from self._make(order, request, name, stop)

    def close(self) -> None:
        """End the process, whatever it does."""
        with self._lock:
            self._closed = True
        self._end_worker()

    def _make(
        self, order: Mapping[str, Any], request: MusicRequest, name: str, stop: threading.Event
    ) -> Iterator[Update]:
        worker = self._running_worker()
        ended = False
        try:
            for reply in _replies_to(worker, order, stop):
                ended = reply.kind in _LAST
                yield from self._updates(reply, request, name)
        except WorkerDied:
            if not self._closed:
                raise
        finally:
            # After Stop it has had its time; an abandoned take gets time to stop now.
            if not ended and (stop.is_set() or not _drain(worker)):
                self._end_worker()

    def _updates(self, reply: Reply, request: MusicRequest, name: str) -> Iterator[Update]:
        facts = reply.facts
        if reply.kind == "error":
            raise self._translate(facts, name)
        if reply.kind == "loading":
            yield Loading(_loading(facts["model"]))
        if reply.kind == "progress":
            made = facts["fraction"] * request.duration
            yield Progress(made, request.duration, facts["seconds"])
        if reply.kind == "take":
            yield Take(
                samples=np.frombuffer(reply.content, "<f4").reshape(facts["shape"]).copy(),
                sample_rate=facts["sample_rate"],
                request=request,
                backend=self.name,
                model=name,
                seconds_taken=facts["seconds"],
                stopped=facts["stopped"],
            )

    def _running_worker(self) -> WorkerProcess:
        with self._lock:
            if self._closed:
                raise BackendError("AudioCraft is closed.")
            if self._worker is None:
                self._worker = WorkerProcess(self._python, environment_without_keys())
            return self._worker

    def _end_worker(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def _translate(self, facts: Mapping[str, Any], name: str) -> BackendError:
        """A user-facing error for a failure in the worker."""
        kind, message = facts["type"], facts["message"]
        reason = (message.strip() or kind).splitlines()[0]
        if is_out_of_memory(_rebuild_error(kind, message)):
            return OutOfMemory(
                Message("The memory is full. Choose a smaller model or a shorter length.")
            )
        if kind in ("ImportError", "ModuleNotFoundError"):
            return BackendError(f"{self._python} can't import AudioCraft: {reason}.")
        if facts["loading"] and facts["unreachable"]:
            return ModelUnavailable(f"AudioCraft can't get all that {name} needs: {reason}")
        if facts["loading"] and is_folder(name):
            return InvalidCheckpoint(f"AudioCraft can't read {name}: {reason}")
        return BackendError(Message("Making the music failed in AudioCraft; its log says why."))


def _replies_to(
    worker: WorkerProcess, order: Mapping[str, Any], stop: threading.Event
) -> Iterator[Reply]:
    """All replies to a take order; ends early if the worker does not react to Stop."""
    worker.order("take", **order)
    until = float("inf")
    while time.monotonic() < until:
        if stop.is_set() and until == float("inf"):
            worker.order("stop")
            until = time.monotonic() + _STOP_PATIENCE
        reply = worker.reply(_POLL_SECONDS)
        if reply is not None:
            yield reply
            if reply.kind in _LAST:
                return


def _drain(worker: WorkerProcess) -> bool:
    """Stop an abandoned take; → whether the worker is ready for another."""
    worker.order("stop")
    until = time.monotonic() + _STOP_PATIENCE
    try:
        while time.monotonic() < until:
            reply = worker.reply(_POLL_SECONDS)
            if reply is not None and reply.kind in _LAST:
                return True
    except WorkerDied:
        pass
    return False


def _rebuild_error(kind: str, message: str) -> BaseException:
    """An error with the type name and message of the worker's, for ``is_out_of_memory``."""
    return MemoryError() if kind == "MemoryError" else type(kind, (RuntimeError,), {})(message)


def _loading(model: str | None) -> Message:
    return Message("Loading {model}", model=model) if model else Message("Starting AudioCraft")


def _readable(name: str) -> bool:
    return not is_folder(name) or (Path(name).expanduser() / _WEIGHTS).is_file()


def _model_path(name: str) -> str:
    """A folder by its whole path, since AudioCraft takes "melody" for a model on the hub."""
    folder = folder_of(name)
    if folder is None:
        return name
    if not _readable(name):
        raise InvalidCheckpoint(f"{name} has no {_WEIGHTS}: not a checkpoint of AudioCraft's.")
    return str(folder.absolute())

"""The scheduler: requests join and leave a batch that the decoder advances together.

Whatever takes long but the decoder's step happens beside it: texts and clips are encoded in
one thread, codes become samples in another. Requests join between two steps, read their
prompt in slices, and leave when they are done, stopped or cancelled, each at its own length.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Self

import numpy as np
import torch

from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.scheduler.events import Done, Event, Failed, Generated, Made
from musicgen_space.engine.scheduler.generation import Generation
from musicgen_space.engine.scheduler.piece import Piece
from musicgen_space.engine.scheduler.sequence import WindowSequence
from musicgen_space.engine.scheduler.sound import CodecThread, Sound
from musicgen_space.engine.scheduler.turns import choose
from musicgen_space.engine.scheduler.worker import Worker
from musicgen_space.request import MusicRequest

__all__ = ["REPORT_EVERY", "Making", "Scheduler"]

REPORT_EVERY = 5  # steps; a tenth of a second of music


class Making:
    """A piece from ``Scheduler.begin`` to its last event: a handle for whoever asked for it."""

    paused = False  # it is not advanced
    due_at: Callable[[], float] | None = None  # in place of what follows from the first sound

    def __init__(self, stopped: Callable[[], bool], prepared: Future[Piece]) -> None:
        self.stopped, self.prepared = stopped, prepared
        self.steps = 0
        self.reported = 0  # of these steps
        self.predicted = False  # all that is to be
        self.first_sound: float | None = None  # when it came
        self.generation: Piece
        self.sound: Sound

    @property
    def rows(self) -> int:
        """See ``Turn``."""
        return self.generation.rows

    @property
    def columns(self) -> int:
        """See ``Turn``."""
        return len(self.sequence.unread)

    @property
    def sequence(self) -> WindowSequence:
        """That of the window it is in."""
        assert self.generation.sequence is not None
        return self.generation.sequence

    @property
    def paced(self) -> bool:
        """See ``Turn``."""
        return self.due_at is not None

    @property
    def due(self) -> float:
        """When its listener will have heard all that is predicted; −∞ before any sound."""
        if self.due_at is not None:
            return self.due_at()
        if self.first_sound is None:
            return -math.inf
        return self.first_sound + self.generation.total_seconds

    def ahead(self, now: float) -> float:
        """See ``Turn``."""
        return self.due - now


class Scheduler:
    """Makes requests with ``model``, all of them at once.

    Deterministic: each gets the codes that it would get alone, whoever else is there (on the
    native runtime bit by bit, on others up to rounding). One thread may use it; ``wake`` may be
    called by any.

    Each request's progress is told after every ``report_every`` steps of its own. Where there is
    nothing to advance, a step waits up to ``patience`` seconds for the other threads.
    """

    def __init__(
        self,
        model: MusicGen,
        *,
        report_every: int = REPORT_EVERY,
        clock: Callable[[], float] = time.monotonic,
        patience: float = 0.1,
    ) -> None:
        self._model, self._report_every = model, report_every
        self._clock, self._patience = clock, patience
        self._awake = threading.Event()
        self._codec = CodecThread(self._awake.set)
        self._preparing = Worker("prepare")
        self._joining: list[Making] = []
        self._making: list[Making] = []
        self._steps = 0

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._joining or self._making)

    def add(self, request: MusicRequest, stopped: Callable[[], bool] = lambda: False) -> Making:
        """Have ``request`` made, whose seed must not be −1 (see ``with_seed_drawn``).

        ``stopped`` is polled before every step; once it is true, what is predicted so far is
        decoded, and that is all.
        """
        return self.begin(lambda: Generation(self._model, request), stopped)

    def begin(
        self, prepare: Callable[[], Piece], stopped: Callable[[], bool] = lambda: False
    ) -> Making:
        """The same of whatever ``prepare`` returns, which is called in another thread."""
        prepared = self._preparing.submit(prepare)
        prepared.add_done_callback(lambda _: self._awake.set())
        making = Making(stopped, prepared)
        self._joining.append(making)
        return making

    def cancel(self, making: Making) -> None:
        """Nobody wants it any more: its memory is free, and nothing more is told of it."""
        if making in self._joining:
            self._joining.remove(making)
            making.prepared.cancel()
        elif making in self._making:
            self._making.remove(making)
            making.generation.sequence = None
            making.sound.cancel()

    def wake(self) -> None:
        """Let a ``step`` that waits return."""
        self._awake.set()

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Go on by about a step of the decoder; → what came of it.

        Waits a little where all that is to be done happens in other threads.
        """
        self._awake.clear()
        events: list[Event] = [*self._join(), *self._open()]
        unfinished = [each for each in self._making if not (each.predicted or each.paused)]
        turns = choose(unfinished, self._clock(), self._steps)
        self._steps += 1
        if turns:
            events += self._advance(turns)
        events += self._told()
        if not turns and not events and self.busy:
            self._awake.wait(self._patience)
        return events

    def close(self) -> None:
        """Drop all requests and end the threads."""
        for making in (*self._joining, *self._making):
            self.cancel(making)
        self._preparing.shutdown(cancel_futures=True)
        self._codec.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _join(self) -> Iterator[Event]:
        """Whoever is prepared takes part from now on."""
        for making in [each for each in self._joining if each.prepared.done()]:
            self._joining.remove(making)
            try:
                making.generation = making.prepared.result()
            except BaseException as error:  # a panic in Rust, as of a tokenizer, is no Exception
                yield Failed(making, error)
                continue
            making.sound = Sound(self._model, making.generation, self._codec)
            self._making.append(making)

    def _open(self) -> Iterator[Event]:
        """Who was stopped is predicted; the others have something to read."""
        for making in [each for each in self._making if not each.predicted]:
            try:
                if making.stopped():
                    self._finish(making)
                else:
                    making.generation.open()
            except Exception as error:
                yield self._failed(making, error)

    def _advance(self, turns: Sequence[tuple[Making, int]]) -> Iterator[Event]:
        """Read so many columns of each; draw the next codes of those that have read all."""
        makings = [making for making, _ in turns]
        sequences = [making.sequence for making in makings]
        slices = [each.unread.split(now) for each, (_, now) in zip(sequences, turns, strict=True)]
        failure: Exception | None = None
        try:
            logits = self._model.decoder.step(
                [each.state for each in sequences], [now for now, _ in slices]
            )
        except Exception as error:
            failure = error
        if failure is not None:  # of one of them: who fails alone as well
            if len(turns) == 1:
                yield self._failed(makings[0], failure)
                return
            failure = None  # its traceback holds everybody's memory
            for turn in turns:
                yield from self._advance([turn])
            return
        for sequence, (_, rest) in zip(sequences, slices, strict=True):
            sequence.unread = rest
        self._draw([each for each in zip(makings, logits, strict=True) if not each[0].columns])

    def _draw(self, read: Sequence[tuple[Making, torch.Tensor]]) -> None:
        """The next codes of each from its logits [R, K, V]."""
        if not read:
            return
        generations = [making.generation for making, _ in read]
        merged = [making.generation.merge(logits) for making, logits in read]
        drawn = self._model.sampler.sample(
            torch.cat(merged),
            [generator for each in generations for generator in each.generators],
            [knobs for each in generations for knobs in each.knobs],
        )
        takes = torch.split(drawn, [len(each) for each in merged])
        for (making, _), codes in zip(read, takes, strict=True):
            making.generation.put(codes)
            making.steps += 1
            if making.generation.done:
                self._finish(making)
            else:
                making.sound.push(making.due)

    def _finish(self, making: Making) -> None:
        """No more is predicted."""
        making.predicted = True
        making.generation.sequence = None
        making.sound.finish(making.due)

    def _told(self) -> Iterator[Event]:
        """Samples that are ready, progress, and who is done."""
        for making in tuple(self._making):
            try:
                for piece in self._pieces(making):
                    if piece.samples.size and making.first_sound is None:
                        making.first_sound = self._clock()
                    yield Made(making, piece)
            except Exception as error:
                yield self._failed(making, error)
                continue
            if making.predicted and making.sound.idle:
                self._making.remove(making)
                yield Done(making)

    def _pieces(self, making: Making) -> Iterator[Generated]:
        generation, silent = making.generation, True
        while (samples := making.sound.take()) is not None:
            silent = False
            yield from generation.begun(Generated(generation.seconds, samples))
        if silent and making.steps >= making.reported + self._report_every:
            nothing = np.empty((*making.sound.shape, 0), np.float32)
            yield from generation.begun(Generated(generation.seconds, nothing))
        making.reported = making.steps - making.steps % self._report_every

    def _failed(self, making: Making, error: BaseException) -> Failed:
        self.cancel(making)
        return Failed(making, error)

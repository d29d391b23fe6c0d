"""Codes become samples beside the decoder, in one thread for all generations.

Two cores with separate work synchronise far less than two threads that share every matrix
product. Whose listener needs sound first is served first.

Chunks of several generations that are ready together are decoded one by one all the same: as
one batch, four takes of musicgen-nano and in musicgen-small's shape took the same time of the
processor within some percent, and whoever is served first would wait for all of them.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import torch

from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.scheduler.piece import Piece
from musicgen_space.engine.scheduler.worker import Worker

__all__ = ["CodecThread", "Sound"]

_Work = Callable[[], np.ndarray]


class CodecThread:
    """Does the most urgent of its work first; ``wake`` is called whenever some is done."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._thread = Worker("codec")
        self._waiting: list[tuple[float, int, Future[np.ndarray], _Work]] = []  # a heap
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def submit(self, due: float, work: _Work) -> Future[np.ndarray]:
        """Have ``work`` done; of what is waiting, first what is ``due`` first."""
        future: Future[np.ndarray] = Future()
        with self._lock:
            heapq.heappush(self._waiting, (due, next(self._numbers), future, work))
        self._thread.submit(self._do_most_urgent)
        return future

    def close(self) -> None:
        """End with what is being done; the rest is not."""
        self._thread.shutdown(cancel_futures=True)

    def _do_most_urgent(self) -> None:
        with self._lock:
            _, _, future, work = heapq.heappop(self._waiting)
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:  # it belongs to whoever waits for the result
                future.set_exception(error)
        self._wake()


class Sound:
    """Decodes the complete frames of ``piece`` to samples, a chunk at a time.

    Starts once a frame after the known ones is there: a clip alone is not a take.
    """

    def __init__(self, model: MusicGen, piece: Piece, thread: CodecThread) -> None:
        self._stream = model.codec.stream()
        self._piece, self._channels = piece, model.decoder.config.channels
        self._chunk = round(piece.chunk_seconds * model.codec.frame_rate)
        self._pushed = piece.decoded_from
        self._next = self._pushed + self._chunk + model.codec.lookahead
        self._thread, self._due = thread, -math.inf  # of what was submitted last
        self._pending: list[Future[np.ndarray]] = []

    @property
    def shape(self) -> tuple[int, int]:
        """B, channels."""
        return self._piece.takes, self._channels

    @property
    def idle(self) -> bool:
        """Whether all that was pushed has been taken."""
        return not self._pending

    def push(self, due: float) -> None:
        """Decode the chunks that are complete."""
        frames = self._piece.frames
        # The frames of a clip come all at once; decoding four takes of 25 s whole needs 2 GB.
        while self._piece.known < frames < self._piece.total and self._next <= frames:
            self._submit(self._next, due, last=False)
            self._next += self._chunk

    def finish(self, due: float) -> None:
        """Decode the rest: there will be no more frames."""
        if self._piece.frames > self._piece.known:
            self._submit(self._piece.frames, due, last=True)

    def take(self) -> np.ndarray | None:
        """The next chunk [B, channels, n] if it is ready."""
        if self._pending and self._pending[0].done():
            return self._pending.pop(0).result()
        return None

    def cancel(self) -> None:
        """Nobody will take what is pending."""
        for future in self._pending:
            future.cancel()

    def _submit(self, frames: int, due: float, *, last: bool) -> None:
        codes = self._piece.between(self._pushed, frames)
        self._pushed = frames
        self._due = max(self._due, due)  # a stream's chunks stay in order, whatever is told of it
        self._pending.append(self._thread.submit(self._due, lambda: self._decode(codes, last)))

    @torch.inference_mode()
    def _decode(self, codes: torch.Tensor, last: bool) -> np.ndarray:
        """[B, K, T′] → [B, channels, n]."""
        takes, codebooks, frames = codes.shape
        # Explicit sizes: after a stop there may be no frames, and torch can't infer −1 then.
        by_channel = codes.view(takes, codebooks // self._channels, self._channels, frames)
        by_channel = by_channel.transpose(1, 2).flatten(0, 1)
        samples = self._stream.push(by_channel, last=last).float().cpu().numpy()
        result: np.ndarray = samples.reshape(takes, self._channels, -1)
        return result

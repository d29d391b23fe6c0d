"""The loop: a request goes in, pieces of music come out while it is being made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from musicgen_space.engine.codec import Codec
from musicgen_space.engine.delay import DelayPattern
from musicgen_space.engine.model import Decoder
from musicgen_space.engine.sampling import guide, sample
from musicgen_space.engine.text import TextEncoder
from musicgen_space.request import MusicRequest

__all__ = ["CHUNK_SECONDS", "MusicGen", "Piece", "generate"]

CHUNK_SECONDS = 1
_STEPS_BETWEEN_PIECES = 5  # a tenth of a second of music: often enough to watch


@dataclass(frozen=True, slots=True, eq=False)
class MusicGen:
    """A loaded checkpoint. It holds no state of any generation, so takes can share it."""

    text: TextEncoder
    decoder: Decoder
    codec: Codec
    device: torch.device


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """How far a generation is: ``seconds`` of music are predicted, and the samples
    (float32 [channels, n]) that were decoded since the last piece; often n is 0.
    """

    seconds: float
    samples: np.ndarray


@torch.inference_mode()
def generate(
    model: MusicGen, request: MusicRequest, stopped: Callable[[], bool] = lambda: False
) -> Iterator[Piece]:
    """Make the music of ``request``, whose seed must be drawn already.

    ``stopped`` is asked before every step; once it says yes, the sound of what is
    predicted so far is the last piece. The same request on the same machine gives the
    same samples. The sound comes in equal chunks of ``CHUNK_SECONDS``, then the rest.
    """
    codec, decoder = model.codec, model.decoder
    pattern = DelayPattern(
        decoder.config.codebooks, max(1, round(request.duration * codec.frame_rate))
    )
    generator = torch.Generator(model.device).manual_seed(request.seed)
    guided = request.guidance_scale != 1.0
    columns = pattern.blank(decoder.config.special_token).to(model.device)

    text = model.text.encode([request.prompt])
    logits, state = decoder.prefill(
        columns[None, :, :1], text, guided=guided, columns=pattern.steps
    )
    frames = 0
    with _Sound(model, pattern, columns) as sound:
        for column in range(1, pattern.steps + 1):
            if stopped():
                break
            if column > 1:
                logits = decoder.decode(columns[None, :, column - 1], state)
            codes = sample(
                guide(logits, request.guidance_scale) if guided else logits,
                generator,
                temperature=request.temperature,
                top_k=request.top_k,
                top_p=request.top_p,
            )
            spoken = pattern.spoken(column)
            columns[spoken, column] = codes[0, spoken]
            frames = pattern.frames_done(column)
            samples = sound.up_to(frames)
            if samples.size or column % _STEPS_BETWEEN_PIECES == 0:
                yield Piece(frames / codec.frame_rate, samples)
        for samples in sound.rest(frames):
            yield Piece(frames / codec.frame_rate, samples)


class _Sound:
    """Turns the finished frames of ``columns`` into sound, a chunk at a time.

    The codec works in a thread of its own beside the decoder, a chunk behind it: two
    cores, each with its own work, wait for each other far less than two threads that
    share every matrix.
    """

    def __init__(self, model: MusicGen, pattern: DelayPattern, columns: torch.Tensor) -> None:
        self._stream = model.codec.stream()
        self._pattern, self._columns = pattern, columns
        self._chunk = CHUNK_SECONDS * model.codec.frame_rate
        self._pushed, self._next = 0, self._chunk + model.codec.lookahead
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="codec")
        self._pending: list[Future[np.ndarray]] = []

    def __enter__(self) -> _Sound:
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.shutdown(cancel_futures=True)

    def up_to(self, frames: int) -> np.ndarray:
        """Hand over ``frames`` frames; → a chunk if one got ready meanwhile, else no samples."""
        if frames >= self._next and frames < self._pattern.frames:
            self._next += self._chunk
            self._push(frames, last=False)
        if self._pending and self._pending[0].done():
            return self._pending.pop(0).result()
        return np.empty((1, 0), np.float32)

    def rest(self, frames: int) -> Iterator[np.ndarray]:
        """Every chunk that is still to come when no frame follows frame ``frames``."""
        if frames:
            self._push(frames, last=True)
        for chunk in self._pending:
            yield chunk.result()

    def _push(self, frames: int, *, last: bool) -> None:
        codes = self._pattern.frames_of(self._columns, self._pushed, frames)
        self._pushed = frames
        self._pending.append(self._worker.submit(self._decode, codes, last))

    def _decode(self, codes: torch.Tensor, last: bool) -> np.ndarray:
        samples: np.ndarray = self._stream.push(codes, last=last).float().cpu().numpy()
        return samples

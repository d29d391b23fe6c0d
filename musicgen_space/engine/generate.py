"""The loop: a request goes in, pieces of music come out while it is being made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    (float32 [channels, n]) that were decoded since the last piece; often n is 0."""

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
    sound = _Sound(model, pattern, columns)

    text = model.text.encode([request.prompt])
    logits, state = decoder.prefill(
        columns[None, :, :1], text, guided=guided, columns=pattern.steps
    )
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
    else:
        column += 1  # the loop leaves early before predicting its column, and here after
    frames = pattern.frames_done(column - 1)
    if frames:
        yield Piece(frames / codec.frame_rate, sound.rest(frames))


class _Sound:
    """Turns the finished frames of ``columns`` into sound, a chunk at a time."""

    def __init__(self, model: MusicGen, pattern: DelayPattern, columns: torch.Tensor) -> None:
        self._stream = model.codec.stream()
        self._pattern, self._columns = pattern, columns
        self._chunk = CHUNK_SECONDS * model.codec.frame_rate
        self._pushed, self._next = 0, self._chunk + model.codec.lookahead

    def up_to(self, frames: int) -> np.ndarray:
        """The next chunk once ``frames`` frames are enough for it, else no samples."""
        if frames < self._next or frames == self._pattern.frames:
            return np.empty((1, 0), np.float32)
        self._next += self._chunk
        return self._push(frames, last=False)

    def rest(self, frames: int) -> np.ndarray:
        """Everything that was held back."""
        return self._push(frames, last=True)

    def _push(self, frames: int, *, last: bool) -> np.ndarray:
        codes = self._pattern.frames_of(self._columns, self._pushed, frames)
        self._pushed = frames
        samples: np.ndarray = self._stream.push(codes, last=last).float().cpu().numpy()
        return samples

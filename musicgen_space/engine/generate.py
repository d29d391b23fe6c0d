"""The loop: a request goes in, pieces of music come out while it is being made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from musicgen_space.audio.resample import heard
from musicgen_space.clip import Clip
from musicgen_space.engine.codec.encodec import Codec
from musicgen_space.engine.conditioners.t5 import TextEncoder
from musicgen_space.engine.conditioning import Conditions
from musicgen_space.engine.delay import UNKNOWN, DelayPattern
from musicgen_space.engine.model import Predictor
from musicgen_space.engine.sampling import sample
from musicgen_space.engine.windows import Window, windows
from musicgen_space.request import MusicRequest

__all__ = ["CHUNK_SECONDS", "MusicGen", "Piece", "generate"]

CHUNK_SECONDS = 1
_STEPS_BETWEEN_PIECES = 5  # a tenth of a second of music: often enough to watch


@dataclass(frozen=True, slots=True, eq=False)
class MusicGen:
    """A loaded checkpoint. It holds no state of any generation, so takes can share it.

    ``base`` is what an adapter was applied to, None without one.
    """

    text: TextEncoder
    decoder: Predictor
    codec: Codec
    device: torch.device
    base: str | None = None

    def encode(self, clip: Clip) -> torch.Tensor:
        """A clip as codes [K, P], the channels' codebooks taking turns."""
        channels = self.decoder.config.channels
        samples = torch.from_numpy(heard(clip, self.codec.sample_rate, channels))
        codes = self.codec.encode(samples)  # [channels, K / channels, P]
        return codes.transpose(0, 1).flatten(0, 1).to(self.device)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """How far a generation is: ``seconds`` of new music are predicted, and the samples
    (float32 [takes, channels, n]) that were decoded since the last piece; often n is 0.
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
    same samples, and each of its variations those that it would give alone. The sound
    comes in equal chunks of ``CHUNK_SECONDS``, then the rest. Raises ``InvalidRequest``
    for a wish that only other checkpoints can grant.
    """
    codes, known = _given(model, request)
    rate = model.codec.frame_rate
    frames = known
    with _Sound(model, codes, known) as sound:
        for step, frames in enumerate(_predict(model, request, codes, known, stopped), 1):
            samples = sound.up_to(frames)
            if samples.size or step % _STEPS_BETWEEN_PIECES == 0:
                yield Piece((frames - known) / rate, samples)
        for samples in sound.rest(frames) if frames > known else ():
            yield Piece((frames - known) / rate, samples)


def _given(model: MusicGen, request: MusicRequest) -> tuple[torch.Tensor, int]:
    """Room for all codes of the takes [B, K, T], and how many frames of it are there already."""
    new = max(1, round(request.duration * model.codec.frame_rate))
    clip = request.continue_from
    config = model.decoder.config
    start = (
        torch.empty((config.codebooks, 0), dtype=torch.int64, device=model.device)
        if clip is None
        else model.encode(clip)
    )
    known = start.shape[1]
    codes = start.new_full((request.variations, config.codebooks, known + new), UNKNOWN)
    codes[..., :known] = start
    return codes, known


def _predict(
    model: MusicGen,
    request: MusicRequest,
    codes: torch.Tensor,
    known: int,
    stopped: Callable[[], bool],
) -> Iterator[int]:
    """Fill in ``codes`` after the ``known`` frames; yields the frames there are by each step."""
    rate, total = model.codec.frame_rate, codes.shape[-1]
    conditions = Conditions(request, model.text, model.decoder.config, model.codec.sample_rate)
    generators = [
        torch.Generator(model.device).manual_seed(request.variation(index).seed)
        for index in range(request.variations)
    ]

    def draw(logits: torch.Tensor, frame: int) -> torch.Tensor:
        progress = min(1.0, (frame - known) / max(1, total - known - 1))
        return sample(
            conditions.merge(logits, progress),
            generators,
            temperature=request.temperature,
            top_k=request.top_k,
            top_p=request.top_p,
        )

    if stopped():
        return
    for window in windows(known, total, rate):
        for frames in _predict_window(model, conditions, window, codes, draw):
            yield frames
            if stopped():
                return


def _predict_window(
    model: MusicGen,
    conditions: Conditions,
    window: Window,
    codes: torch.Tensor,
    draw: Callable[[torch.Tensor, int], torch.Tensor],
) -> Iterator[int]:
    """Fill in the codes of one window; yields the frames of the take after each step."""
    decoder = model.decoder
    pattern = DelayPattern(decoder.config.delays, window.end - window.start)
    given = codes[..., window.start : window.start + window.known]
    columns = pattern.columns(given, decoder.config.special_token)
    condition = conditions.at(window.start / model.codec.frame_rate)
    logits, state = decoder.prefill(
        columns[..., : window.known + 1], condition, columns=pattern.steps
    )
    for column in range(window.known + 1, pattern.steps + 1):
        if column > window.known + 1:
            logits = decoder.decode(columns[..., column - 1], state)
        current = columns[..., column]
        drawn = draw(logits, window.start + column - 1)
        columns[..., column] = torch.where(current == UNKNOWN, drawn, current)
        done = pattern.frames_done(column)
        if done > window.known:
            codes[..., window.start + done - 1] = pattern.frames_of(columns, done - 1, done)[..., 0]
        yield window.start + max(done, window.known)


class _Sound:
    """Turns the finished frames of ``codes`` [B, K, T] into sound, a chunk at a time.

    It begins once there are more than the ``known`` ones: a clip alone is no take. The codec
    works in a thread of its own beside the decoder, a chunk behind it: two cores, each with
    its own work, wait for each other far less than two threads that share every matrix.
    """

    def __init__(self, model: MusicGen, codes: torch.Tensor, known: int) -> None:
        self._stream = model.codec.stream()
        self._codes, self._channels = codes, model.decoder.config.channels
        self._known = known
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
        # A clip's frames come all at once, but four takes of 25 s would need 2 GB in one go.
        while self._known < frames < self._codes.shape[-1] and self._next <= frames:
            self._push(self._next, last=False)
            self._next += self._chunk
        if self._pending and self._pending[0].done():
            return self._pending.pop(0).result()
        return np.empty((len(self._codes), self._channels, 0), np.float32)

    def rest(self, frames: int) -> Iterator[np.ndarray]:
        """Every chunk that is still to come when no frame follows frame ``frames``."""
        self._push(frames, last=True)
        for chunk in self._pending:
            yield chunk.result()

    def _push(self, frames: int, *, last: bool) -> None:
        codes = self._codes[..., self._pushed : frames].clone()
        self._pushed = frames
        self._pending.append(self._worker.submit(self._decode, codes, last))

    def _decode(self, codes: torch.Tensor, last: bool) -> np.ndarray:
        """[B, K, T′] → [B, channels, n]."""
        takes, codebooks, frames = codes.shape
        # Not −1: who stops just after a chunk leaves no frames, of which torch can't tell.
        by_channel = codes.view(takes, codebooks // self._channels, self._channels, frames)
        by_channel = by_channel.transpose(1, 2).flatten(0, 1)
        samples = self._stream.push(by_channel, last=last).float().cpu().numpy()
        result: np.ndarray = samples.reshape(takes, self._channels, -1)
        return result

"""The generation loop: a request goes in, chunks of audio come out while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from musicgen_space.audio.resample import convert, convert_audible
from musicgen_space.clip import Clip
from musicgen_space.engine.codec.encodec import Codec
from musicgen_space.engine.conditioners.t5 import TextEncoder
from musicgen_space.engine.conditioning import Conditioning
from musicgen_space.engine.delay import UNKNOWN, DelayPattern
from musicgen_space.engine.given import beginning_with, heard
from musicgen_space.engine.model import Condition, Predictor
from musicgen_space.engine.sampling import sample
from musicgen_space.engine.windows import Window, context_seconds, windows
from musicgen_space.request import MusicRequest

__all__ = ["CHUNK_SECONDS", "Generated", "MusicGen", "generate"]

CHUNK_SECONDS = 1
_REPORT_EVERY = 5  # steps; a tenth of a second of music


@dataclass(frozen=True, slots=True, eq=False)
class MusicGen:
    """A loaded checkpoint. It holds no state of a generation, so takes can share it.

    ``base`` is the name of an adapter's base model; None without an adapter.
    """

    text: TextEncoder
    decoder: Predictor
    codec: Codec
    device: torch.device
    base: str | None = None

    def encode(self, clip: Clip) -> torch.Tensor:
        """The codes [K, P] of a clip; in stereo, the channels' codebooks alternate."""
        channels = self.decoder.config.channels
        samples = torch.from_numpy(convert_audible(clip, self.codec.sample_rate, channels))
        codes = self.codec.encode(samples)  # [channels, K / channels, P]
        return codes.transpose(0, 1).flatten(0, 1).to(self.device)


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """Progress of a generation: ``seconds`` of new music are predicted so far.

    ``samples`` (float32 [takes, channels, n]) were decoded since the last one; n is often 0.
    """

    seconds: float
    samples: np.ndarray


@torch.inference_mode()
def generate(
    model: MusicGen,
    request: MusicRequest,
    stopped: Callable[[], bool] = lambda: False,
    *,
    report_every: int = _REPORT_EVERY,
) -> Iterator[Generated]:
    """Generate ``request``, whose seed must not be −1 (see ``MusicRequest.with_seed_drawn``).

    ``stopped`` is polled before every step; once it is true, what is predicted so far is
    decoded and the generator ends. Deterministic: the same request on the same machine gives
    the same samples, and each variation those that it would give alone. Audio comes in
    chunks of ``CHUNK_SECONDS``, then the rest; without any, progress is told after every
    ``report_every`` steps. Raises ``InvalidRequest`` for a melody on a
    checkpoint that can't follow one.
    """
    codes, known = _init_codes(model, request)
    pieces = _decoded(model, request, codes, known, stopped, report_every)
    clip = request.continue_from
    if clip is not None and heard(clip, request.duration) is not clip:
        rate, channels = model.codec.sample_rate, model.decoder.config.channels
        context = known * model.codec.samples_per_frame
        pieces = beginning_with(Clip(convert(clip, rate, channels), rate), context, pieces)
    yield from pieces


def _decoded(
    model: MusicGen,
    request: MusicRequest,
    codes: torch.Tensor,
    known: int,
    stopped: Callable[[], bool],
    report_every: int,
) -> Iterator[Generated]:
    """Predict and decode ``codes``; the sound of the ``known`` frames comes first."""
    rate = model.codec.frame_rate
    frames = known
    with _StreamingCodec(model, codes, known) as codec:
        for step, frames in enumerate(_predict(model, request, codes, known, stopped), 1):
            samples = codec.push(frames)
            if samples.size or step % report_every == 0:
                yield Generated((frames - known) / rate, samples)
        for samples in codec.flush(frames) if frames > known else ():
            yield Generated((frames - known) / rate, samples)


def _init_codes(model: MusicGen, request: MusicRequest) -> tuple[torch.Tensor, int]:
    """The codes of all takes [B, K, T], unknown after the clip to continue; and its frames."""
    new = max(1, round(request.duration * model.codec.frame_rate))
    clip = request.continue_from
    config = model.decoder.config
    start = (
        torch.empty((config.codebooks, 0), dtype=torch.int64, device=model.device)
        if clip is None
        else model.encode(heard(clip, request.duration))
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
    """Fill in ``codes`` after the ``known`` frames; yields the complete frames after each step."""
    rate, total = model.codec.frame_rate, codes.shape[-1]
    conditioning = Conditioning(request, model.text, model.decoder.config, model.codec.sample_rate)
    generators = [
        torch.Generator(model.device).manual_seed(request.variation(index).seed)
        for index in range(request.variations)
    ]

    def next_codes(logits: torch.Tensor, frame: int) -> torch.Tensor:
        progress = min(1.0, (frame - known) / max(1, total - known - 1))
        return sample(
            conditioning.merge(logits, progress),
            generators,
            temperature=request.temperature,
            top_k=request.top_k,
            top_p=request.top_p,
        )

    if stopped():
        return
    given = request.given_seconds
    unheard = given - context_seconds(given, request.duration)
    for window in windows(known, total, rate):
        condition = conditioning.at(unheard + window.start / rate)
        for frames in _predict_window(model, condition, window, codes, next_codes):
            yield frames
            if stopped():
                return


def _predict_window(
    model: MusicGen,
    condition: Condition,
    window: Window,
    codes: torch.Tensor,
    next_codes: Callable[[torch.Tensor, int], torch.Tensor],
) -> Iterator[int]:
    """Fill in the codes of one window; yields the take's complete frames after each step."""
    decoder = model.decoder
    pattern = DelayPattern(decoder.config.delays, window.end - window.start)
    known = codes[..., window.start : window.start + window.known]
    sequence = pattern.build_sequence(known, decoder.config.special_token)
    prompt = sequence[..., : window.known + 1]
    logits, cache = decoder.prefill(prompt, condition, max_steps=pattern.steps)
    for step in range(window.known + 1, pattern.steps + 1):
        if step > window.known + 1:
            logits = decoder.decode(sequence[..., step - 1], cache)
        current = sequence[..., step]
        sampled = next_codes(logits, window.start + step - 1)
        sequence[..., step] = torch.where(current == UNKNOWN, sampled, current)
        done = pattern.complete_frames(step)
        if done > window.known:
            frame = pattern.revert_sequence(sequence, done - 1, done)
            codes[..., window.start + done - 1] = frame[..., 0]
        yield window.start + max(done, window.known)


class _StreamingCodec:
    """Decodes the complete frames of ``codes`` [B, K, T] to audio, a chunk at a time.

    Starts once a frame after the ``known`` ones is there: a clip alone is not a take. The
    codec runs in a thread of its own, a chunk behind the decoder: two cores with separate
    work synchronise far less than two threads that share every matrix product.
    """

    def __init__(self, model: MusicGen, codes: torch.Tensor, known: int) -> None:
        self._stream = model.codec.stream()
        self._codes, self._channels = codes, model.decoder.config.channels
        self._known = known
        self._chunk = CHUNK_SECONDS * model.codec.frame_rate
        self._pushed, self._next = 0, self._chunk + model.codec.lookahead
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="codec")
        self._pending: list[Future[np.ndarray]] = []

    def __enter__(self) -> _StreamingCodec:
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.shutdown(cancel_futures=True)

    def push(self, frames: int) -> np.ndarray:
        """Submit the first ``frames`` frames; → the next chunk if one is ready, else n = 0."""
        # The frames of a clip come all at once; decoding four takes of 25 s whole needs 2 GB.
        while self._known < frames < self._codes.shape[-1] and self._next <= frames:
            self._submit(self._next, last=False)
            self._next += self._chunk
        if self._pending and self._pending[0].done():
            return self._pending.pop(0).result()
        return np.empty((len(self._codes), self._channels, 0), np.float32)

    def flush(self, frames: int) -> Iterator[np.ndarray]:
        """All remaining chunks, where ``frames`` is the final number of frames."""
        self._submit(frames, last=True)
        for chunk in self._pending:
            yield chunk.result()

    def _submit(self, frames: int, *, last: bool) -> None:
        codes = self._codes[..., self._pushed : frames].clone()
        self._pushed = frames
        self._pending.append(self._worker.submit(self._decode, codes, last))

    def _decode(self, codes: torch.Tensor, last: bool) -> np.ndarray:
        """[B, K, T′] → [B, channels, n]."""
        takes, codebooks, frames = codes.shape
        # Explicit sizes: after a stop there may be no frames, and torch can't infer −1 then.
        by_channel = codes.view(takes, codebooks // self._channels, self._channels, frames)
        by_channel = by_channel.transpose(1, 2).flatten(0, 1)
        samples = self._stream.push(by_channel, last=last).float().cpu().numpy()
        result: np.ndarray = samples.reshape(takes, self._channels, -1)
        return result

"""One request while it is made: what is read and drawn next. It does not know when.

Its takes (variations) go in step: they have one state of the decoder, of several rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from musicgen_space.audio.resample import convert
from musicgen_space.clip import Clip
from musicgen_space.engine.conditioning import Conditioning
from musicgen_space.engine.delay import UNKNOWN
from musicgen_space.engine.given import Beginning, heard
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.sampling import Knobs
from musicgen_space.engine.scheduler.events import Generated
from musicgen_space.engine.scheduler.sequence import WindowSequence
from musicgen_space.engine.windows import context_seconds, windows
from musicgen_space.request import MusicRequest

__all__ = ["Generation"]


class Generation:
    """The codes [B, K, T] of a request, filled in step by step after the ``known`` frames.

    To make one encodes the request's texts and clip, which takes a while, in any thread. Then
    ``open``, have the ``sequence`` read, and ``put`` the codes that are drawn from the logits,
    until it is ``done``.

    Raises ``InvalidRequest`` for a melody on a checkpoint that can't follow one.
    """

    sequence: WindowSequence | None = None  # of the window that is being predicted
    chunk_seconds = 1.0  # of sound
    decoded_from = 0  # the first frame whose sound is wanted

    @torch.inference_mode()
    def __init__(self, model: MusicGen, request: MusicRequest) -> None:
        self._model, self._request = model, request
        self.codes, self.known = _init_codes(model, request)
        self.frames = self.known  # complete so far
        self._beginning = _beginning(model, request, self.known)
        config, codec = model.decoder.config, model.codec
        self._conditioning = Conditioning(request, model.text, config, codec.sample_rate)
        self.rows = self._conditioning.rows
        self.generators = [
            model.sampler.generator(request.variation(index).seed)
            for index in range(request.variations)
        ]
        self.knobs = [Knobs(request.temperature, request.top_k, request.top_p)] * len(self.codes)
        self._windows = windows(self.known, self.codes.shape[-1], codec.frame_rate)
        self._window = next(self._windows, None)

    @property
    def takes(self) -> int:
        """B."""
        return len(self.codes)

    @property
    def total(self) -> int:
        """T."""
        return self.codes.shape[-1]

    @property
    def done(self) -> bool:
        """Whether all codes are there."""
        return self._window is None

    @property
    def seconds(self) -> float:
        """Seconds of new music."""
        return (self.frames - self.known) / self._model.codec.frame_rate

    @property
    def total_seconds(self) -> float:
        """The same with what the model hears of a clip."""
        return self.frames / self._model.codec.frame_rate

    def between(self, start: int, end: int) -> torch.Tensor:
        """The codes of complete frames ``start`` … ``end`` − 1: [B, K, end − start]."""
        return self.codes[..., start:end].clone()

    def begun(self, piece: Generated) -> Iterator[Generated]:
        """``piece`` after whatever of a clip comes before it."""
        if self._beginning is None:
            yield piece
        else:
            yield from self._beginning.push(piece)

    def open(self) -> None:
        """Where a window begins, a sequence of its own; the memory of the one before is free."""
        window = self._window
        if self.sequence is not None or window is None:
            return
        given = self._request.given_seconds
        unheard = given - context_seconds(given, self._request.duration)
        condition = self._conditioning.at(unheard + window.start / self._model.codec.frame_rate)
        known = self.codes[..., window.start : window.start + window.known]
        frames = window.end - window.start
        self.sequence = WindowSequence(self._model.decoder, condition, known, frames)

    def merge(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the next step in all branches [R, K, V] → of the takes [B, K, V]."""
        assert self._window is not None
        assert self.sequence is not None
        frame = self._window.start + self.sequence.frame
        progress = (frame - self.known) / max(1, self.total - self.known - 1)
        scale = self._request.guidance_scale
        return self._conditioning.merge(logits, min(1.0, progress), scale)

    def put(self, drawn: torch.Tensor) -> None:
        """Go on by a step of codes [B, K]."""
        window, sequence = self._window, self.sequence
        assert window is not None
        assert sequence is not None
        frame = sequence.put(drawn)
        self.frames = window.start + sequence.frames
        if frame is not None:
            self.codes[..., self.frames - 1] = frame
        if sequence.done:
            self._window, self.sequence = next(self._windows, None), None


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


def _beginning(model: MusicGen, request: MusicRequest, known: int) -> Beginning | None:
    """What of a clip is heard as it was given: where the model hears its end only."""
    clip = request.continue_from
    if clip is None or heard(clip, request.duration) is clip:
        return None
    rate, channels = model.codec.sample_rate, model.decoder.config.channels
    given = Clip(convert(clip, rate, channels), rate)
    return Beginning(given, known * model.codec.samples_per_frame)

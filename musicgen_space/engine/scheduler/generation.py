"""One request while it is made: what is read and drawn next. It does not know when.

Its takes (variations) go in step: they have one state of the decoder, of several rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from musicgen_space.audio.resample import convert
from musicgen_space.clip import Clip
from musicgen_space.engine.conditioning import Conditioning
from musicgen_space.engine.delay import UNKNOWN, DelayPattern
from musicgen_space.engine.given import Beginning, heard
from musicgen_space.engine.model import Columns
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.sampling import Knobs
from musicgen_space.engine.scheduler.events import Generated
from musicgen_space.engine.windows import context_seconds, windows
from musicgen_space.request import MusicRequest

__all__ = ["Generation"]


class Generation:
    """The codes [B, K, T] of a request, filled in step by step after the ``known`` frames.

    To make one encodes the request's texts and clip, which takes a while, in any thread. Then
    ``open``, read the ``unread`` columns into ``state``, and ``put`` the codes that are drawn
    from the logits, until it is ``done``.

    Raises ``InvalidRequest`` for a melody on a checkpoint that can't follow one.
    """

    state: Any = None  # of the decoder; None before a window begins
    unread: Columns

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
            torch.Generator(model.device).manual_seed(request.variation(index).seed)
            for index in range(request.variations)
        ]
        self.knobs = [Knobs(request.temperature, request.top_k, request.top_p)] * len(self.codes)
        self._windows = windows(self.known, self.codes.shape[-1], codec.frame_rate)
        self._window = next(self._windows, None)

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

    def begun(self, piece: Generated) -> Iterator[Generated]:
        """``piece`` after whatever of a clip comes before it."""
        if self._beginning is None:
            yield piece
        else:
            yield from self._beginning.push(piece)

    def open(self) -> None:
        """Where a window begins, a state of its own; the memory of the one before is free."""
        if self.state is not None or self._window is None:
            return
        window, config = self._window, self._model.decoder.config
        given = self._request.given_seconds
        unheard = given - context_seconds(given, self._request.duration)
        condition = self._conditioning.at(unheard + window.start / self._model.codec.frame_rate)
        self._pattern = DelayPattern(config.delays, window.end - window.start)
        known = self.codes[..., window.start : window.start + window.known]
        self._sequence = self._pattern.build_sequence(known, config.special_token)
        self._step = window.known + 1
        self.state, prefix = self._model.decoder.start(condition, self._pattern.steps)
        self.unread = Columns(self._sequence[..., : self._step], prefix)

    def merge(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the next step in all branches [R, K, V] → of the takes [B, K, V]."""
        assert self._window is not None
        frame, total = self._window.start + self._step - 1, self.codes.shape[-1]
        progress = (frame - self.known) / max(1, total - self.known - 1)
        return self._conditioning.merge(logits, min(1.0, progress))

    def put(self, drawn: torch.Tensor) -> None:
        """Go on by a step of codes [B, K], where they are not known."""
        window, step = self._window, self._step
        assert window is not None
        current = self._sequence[..., step]
        self._sequence[..., step] = torch.where(current == UNKNOWN, drawn, current)
        complete = self._pattern.complete_frames(step)
        if complete > window.known:
            frame = self._pattern.revert_sequence(self._sequence, complete - 1, complete)
            self.codes[..., window.start + complete - 1] = frame[..., 0]
        self.frames = window.start + max(complete, window.known)
        self.unread = Columns(self._sequence[..., step : step + 1])
        self._step += 1
        if self._step > self._pattern.steps:
            self._window, self.state = next(self._windows, None), None


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

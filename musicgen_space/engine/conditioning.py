"""What the decoder is told of a request, and how its answers are put together.

A take is predicted in several *readings* at once, which share the codes so far::

    the prompt │ the prompt it blends into │ for guidance: the negative prompt, or none
    ───────────┴───── conditional ─────────┴──────────── unconditional ────────────────

Only the first is always there. The rows of a batch are all takes in the first reading,
then all takes in the second, …
"""

from __future__ import annotations

import numpy as np
import torch

from musicgen_space.audio.resample import heard
from musicgen_space.clip import Clip
from musicgen_space.engine.conditioners.chroma import no_tune, tune_of
from musicgen_space.engine.conditioners.t5 import TextEncoder
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.model import Condition, TextCondition
from musicgen_space.engine.sampling import guide
from musicgen_space.engine.windows import WINDOW_SECONDS
from musicgen_space.errors import InvalidRequest
from musicgen_space.request import MusicRequest

__all__ = ["Conditions"]


class Conditions:
    """The readings of one request for a model; raises ``InvalidRequest`` if it has no such."""

    def __init__(
        self, request: MusicRequest, text: TextEncoder, config: DecoderConfig, sample_rate: int
    ) -> None:
        if request.melody is not None and not config.follows_melody:
            raise InvalidRequest("melody", request.melody.name, "needs a melody checkpoint")
        self._request, self._config, self._sample_rate = request, config, sample_rate
        self._guided = request.guidance_scale != 1.0
        self._blends = bool(request.blend_prompt)
        texts = [request.prompt]
        if request.blend_prompt:
            texts.append(request.blend_prompt)
        if self._guided and request.negative_prompt:
            texts.append(request.negative_prompt)
        encoded, takes = text.encode(texts), request.variations
        self._text = TextCondition(
            encoded.states.repeat_interleave(takes, 0), encoded.mask.repeat_interleave(takes, 0)
        )
        self._readings = 1 + self._blends + self._guided
        self._melody = None if request.melody is None else self._in_mono(request.melody)

    def at(self, seconds: float) -> Condition:
        """The condition of a window that starts ``seconds`` into the take."""
        rows = self._readings * self._request.variations
        return Condition(self._text, rows, self._tune(seconds))

    def merge(self, logits: torch.Tensor, progress: float) -> torch.Tensor:
        """Logits of all readings [R, K, V] → of the takes [B, K, V].

        ``progress``, 0 … 1, is how far the blend is. It mixes log-probabilities up to a
        constant, so at each end exactly one prompt counts.
        """
        readings = logits.view(self._readings, -1, *logits.shape[1:])
        merged = readings[0]
        if self._blends:
            merged = torch.lerp(merged, readings[1], progress)
        if self._guided:
            merged = guide(merged, readings[-1], self._request.guidance_scale)
        return merged

    def _in_mono(self, clip: Clip) -> torch.Tensor:
        """The clip's sound [n] in mono at the model's rate."""
        return torch.from_numpy(heard(clip, self._sample_rate, 1)[0])

    def _tune(self, seconds: float) -> torch.Tensor | None:
        """What each reading hears of the melody: [R, frames, bins]; guidance's hears none."""
        bins, frames = self._config.chroma_bins, self._config.chroma_frames
        if not self._config.follows_melody:
            return None
        silent = no_tune(bins, frames)
        tune = silent
        if self._melody is not None:
            tune = tune_of(self._stretch(self._melody, seconds), self._sample_rate, bins, frames)
        conditional = [tune] * (self._readings - self._guided)
        tunes = torch.stack([*conditional, *([silent] if self._guided else [])])
        return tunes.repeat_interleave(self._request.variations, 0)

    def _stretch(self, melody: torch.Tensor, seconds: float) -> torch.Tensor:
        """What is heard of ``melody`` from ``seconds`` on, as AudioCraft does in windows.

        It starts again at its end. In the one window of a short take it is heard as it is.
        """
        if self._request.total_seconds <= WINDOW_SECONDS:
            return melody[: WINDOW_SECONDS * self._sample_rate]
        first = int(seconds * self._sample_rate)
        positions = np.arange(first, first + WINDOW_SECONDS * self._sample_rate)
        return melody[positions % len(melody)]

"""What the decoder is conditioned on, and how the logits of its branches are combined.

A take is predicted in several *branches* at once, which share the codes so far::

    prompt │ blend prompt │ CFG: negative prompt, or no text
    ───── conditional ────┴───────── unconditional ─────────

Only the first is always there. The rows of a batch are all takes in the first branch, then
all takes in the second, …
"""

from __future__ import annotations

import numpy as np
import torch

from musicgen_space.audio.resample import convert_audible
from musicgen_space.clip import Clip
from musicgen_space.engine.conditioners.chroma import empty_chroma, extract_chroma
from musicgen_space.engine.conditioners.t5 import TextEncoder
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.model import Condition, TextCondition
from musicgen_space.engine.sampling import apply_guidance
from musicgen_space.engine.windows import WINDOW_SECONDS
from musicgen_space.errors import InvalidRequest
from musicgen_space.request import MusicRequest

__all__ = ["Conditioning"]


class Conditioning:
    """The branches of one request; ``InvalidRequest`` for a melody that the model can't use."""

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
        self._branches = 1 + self._blends + self._guided
        self.rows = self._branches * takes
        self._melody = None if request.melody is None else self._mono(request.melody)

    def at(self, seconds: float) -> Condition:
        """The condition of a window that starts ``seconds`` into the take."""
        return Condition(self._text, self.rows, self._chroma(seconds))

    def merge(self, logits: torch.Tensor, blend: float, guidance_scale: float) -> torch.Tensor:
        """Logits of all branches [R, K, V] → of the takes [B, K, V].

        ``blend``, 0 … 1, is the weight of the blend prompt. Logits are log-probabilities
        up to a constant, so at 0 and at 1 exactly one prompt counts.
        """
        branches = logits.view(self._branches, -1, *logits.shape[1:])
        merged = branches[0]
        if self._blends:
            merged = torch.lerp(merged, branches[1], blend)
        if self._guided:
            merged = apply_guidance(merged, branches[-1], guidance_scale)
        return merged

    def _mono(self, clip: Clip) -> torch.Tensor:
        """The clip's sound [n] in mono at the model's rate."""
        return torch.from_numpy(convert_audible(clip, self._sample_rate, 1)[0])

    def _chroma(self, seconds: float) -> torch.Tensor | None:
        """The melody's chroma per branch [R, frames, bins]; none for the unconditional one."""
        bins, frames = self._config.chroma_bins, self._config.chroma_frames
        if not self._config.follows_melody:
            return None
        uncond = empty_chroma(bins, frames)
        cond = uncond
        if self._melody is not None:
            excerpt = self._melody_window(self._melody, seconds)
            cond = extract_chroma(excerpt, self._sample_rate, bins, frames)
        branches = [cond] * (self._branches - self._guided) + [uncond] * self._guided
        return torch.stack(branches).repeat_interleave(self._request.variations, 0)

    def _melody_window(self, melody: torch.Tensor, seconds: float) -> torch.Tensor:
        """The samples of ``melody`` for the window that starts at ``seconds``, as in AudioCraft.

        In takes of several windows the melody loops; where one is the whole take it is used once.
        """
        if self._request.total_seconds <= WINDOW_SECONDS and not seconds:
            return melody[: WINDOW_SECONDS * self._sample_rate]
        first = int(seconds * self._sample_rate)
        indices = np.arange(first, first + WINDOW_SECONDS * self._sample_rate)
        return melody[indices % len(melody)]

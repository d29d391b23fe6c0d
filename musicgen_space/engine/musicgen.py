"""A loaded checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from musicgen_space.audio.resample import convert_audible
from musicgen_space.clip import Clip
from musicgen_space.engine.codec.encodec import Codec
from musicgen_space.engine.conditioners.t5 import TextEncoder
from musicgen_space.engine.model import Predictor
from musicgen_space.engine.sampling import Sampler

__all__ = ["MusicGen"]


@dataclass(frozen=True, slots=True, eq=False)
class MusicGen:
    """A loaded checkpoint. It holds no state of a generation, so takes can share it.

    ``base`` is the name of an adapter's base model; None without an adapter.
    """

    text: TextEncoder
    decoder: Predictor
    codec: Codec
    sampler: Sampler
    device: torch.device
    base: str | None = None

    def encode(self, clip: Clip) -> torch.Tensor:
        """The codes [K, P] of a clip; in stereo, the channels' codebooks alternate."""
        channels = self.decoder.config.channels
        samples = torch.from_numpy(convert_audible(clip, self.codec.sample_rate, channels))
        codes = self.codec.encode(samples)  # [channels, K / channels, P]
        return codes.transpose(0, 1).flatten(0, 1).to(self.device)

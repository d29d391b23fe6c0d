"""A tune, as melody checkpoints read it: which of the twelve pitch classes is loudest when.

The same numbers as transformers' ``MusicgenMelodyFeatureExtractor``, whose filter bank
this uses. That class itself needs torchaudio for its spectrogram, which torch has too.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers.audio_utils import chroma_filter_bank

__all__ = ["no_tune", "tune_of"]

# facebook/musicgen-melody, preprocessor_config.json: n_fft and hop_length, in samples.
_WINDOW = 16384
_HOP = 4096


def tune_of(samples: torch.Tensor, sample_rate: int, bins: int, frames: int) -> torch.Tensor:
    """Sound [n] → float32 [frames, bins], 1 at each frame's loudest pitch class, else 0.

    A tune that is too short starts again; of one that is too long the beginning counts.
    """
    missing = max(0, _WINDOW - samples.shape[-1])
    padded = functional.pad(samples, (missing // 2, missing - missing // 2))
    spectrum = torch.stft(
        padded, _WINDOW, _HOP, window=torch.hann_window(_WINDOW), return_complex=True
    )
    filters = torch.from_numpy(chroma_filter_bank(_WINDOW, bins, sample_rate)).float()
    loudest = (filters @ spectrum.abs().square()).argmax(dim=0)
    repeats = -(-frames // len(loudest))
    return functional.one_hot(loudest.repeat(repeats)[:frames], bins).float()


def no_tune(bins: int, frames: int) -> torch.Tensor:
    """What a melody checkpoint reads when there is no tune: [frames, bins], all in bin 0."""
    return functional.one_hot(torch.zeros(frames, dtype=torch.int64), bins).float()

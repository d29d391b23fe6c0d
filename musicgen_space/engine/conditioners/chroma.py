"""Chroma: which of the twelve pitch classes is loudest in each frame of a melody.

The same numbers as transformers' ``MusicgenMelodyFeatureExtractor``, whose filter bank
this uses. That class needs torchaudio for its spectrogram; ``torch.stft`` does as well.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers.audio_utils import chroma_filter_bank

__all__ = ["empty_chroma", "extract_chroma"]

# facebook/musicgen-melody, preprocessor_config.json: n_fft and hop_length, in samples.
_WINDOW = 16384
_HOP = 4096


def extract_chroma(samples: torch.Tensor, sample_rate: int, bins: int, frames: int) -> torch.Tensor:
    """Samples [n] → one-hot float32 [frames, bins]: the loudest pitch class of each frame.

    A melody that is too short is repeated; one that is too long is cut off.
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


def empty_chroma(bins: int, frames: int) -> torch.Tensor:
    """Chroma of no melody, as the checkpoints were trained: [frames, bins], all in bin 0."""
    return functional.one_hot(torch.zeros(frames, dtype=torch.int64), bins).float()

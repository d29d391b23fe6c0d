"""Loudness as ITU-R BS.1770-4 measures it, in LUFS, and true peaks, in dBTP.

pyloudnorm is imported where it is used: it brings scipy, which takes more than a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from musicgen_space.audio.resample import USUAL_ORDER, fit, resampled
from musicgen_space.clip import Clip

__all__ = ["LOUDNESS", "TRUE_PEAK", "gain_of", "gains_to_match", "loudness", "true_peak"]

# What streaming services play at, and the room that lossy formats need (AES TD1008, 2021;
# the figures of Spotify's "Loudness normalization").
LOUDNESS = -14.0  # LUFS
TRUE_PEAK = -1.0  # dBTP

_GATING_BLOCK = 0.4  # seconds: BS.1770-4, annex 1
_LOWEST_RATE = 8_000  # Hz; below 4,000 its filters do not exist
_OVERSAMPLING = 4  # BS.1770-4, annex 2


def loudness(samples: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of [channels, n] in LUFS; −inf for silence.

    What is shorter than a gating block is measured as one block. More than two channels
    are measured as the stereo mix in which they are heard.
    """
    import pyloudnorm

    if not samples.any():
        return -math.inf
    heard = samples
    if len(samples) > 2 or sample_rate < _LOWEST_RATE:
        rate = max(sample_rate, _LOWEST_RATE)
        heard = fit(Clip(samples, sample_rate), rate, min(len(samples), 2))
        sample_rate = rate
    block = min(_GATING_BLOCK, math.nextafter(heard.shape[-1] / sample_rate, 0))
    # "DeMan" are the standard's own filters at any rate; the default ones come near them.
    meter = pyloudnorm.Meter(sample_rate, filter_class="DeMan", block_size=block)
    return float(meter.integrated_loudness(heard.T))


def true_peak(samples: np.ndarray, sample_rate: int) -> float:
    """The highest peak of [channels, n], between samples too, in dBTP; −inf for silence."""
    peak = float(np.abs(samples).max(initial=0.0))
    for channel in samples.astype(np.float32, copy=False):
        seconds = (
            (channel[start : start + sample_rate, None], sample_rate, USUAL_ORDER)
            for start in range(0, len(channel), sample_rate)
        )
        for piece in resampled(seconds, _OVERSAMPLING * sample_rate):
            peak = max(peak, float(np.abs(piece).max(initial=0.0)))
    return 20 * math.log10(peak) if peak else -math.inf


def gains_to_match(levels: Iterable[float]) -> list[float]:
    """For each take the gain, at most 1, that makes it as loud as the quietest; silence: 1.

    ``levels`` are the takes' loudness in LUFS, −inf for silence.
    """
    measured = [*levels]
    quietest = min(filter(math.isfinite, measured), default=0.0)
    return [gain_of(quietest - level) if math.isfinite(level) else 1.0 for level in measured]


def gain_of(decibels: float) -> float:
    """The factor that makes a sound louder by so many dB."""
    return float(10 ** (decibels / 20))

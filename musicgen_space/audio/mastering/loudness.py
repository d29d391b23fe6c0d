"""Loudness as ITU-R BS.1770-4 measures it, in LUFS, and true peaks, in dBTP.

pyloudnorm is imported where it is used: it brings scipy, which takes more than a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from musicgen_space.audio.resample import DEFAULT_ORDER, convert, resample_blocks
from musicgen_space.clip import Clip

__all__ = [
    "LOUDNESS",
    "TRUE_PEAK",
    "gain_of",
    "gains_to_match",
    "loudness",
    "step_peaks",
    "true_peak",
]

# The level of streaming services, and headroom for lossy encoding (AES TD1008, 2021; Spotify,
# "Loudness normalization").
LOUDNESS = -14.0  # LUFS
TRUE_PEAK = -1.0  # dBTP

_GATING_BLOCK = 0.4  # seconds: BS.1770-4, annex 1
_LOWEST_RATE = 8_000  # Hz; below 4,000 the filters are undefined
_OVERSAMPLING = 4  # BS.1770-4, annex 2


def loudness(samples: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of [channels, n] in LUFS; −inf for silence.

    Samples shorter than a gating block are measured as one block; more than two channels as
    their stereo mix.
    """
    import pyloudnorm

    if not samples.any():
        return -math.inf
    measured = samples
    if len(samples) > 2 or sample_rate < _LOWEST_RATE:
        rate = max(sample_rate, _LOWEST_RATE)
        measured = convert(Clip(samples, sample_rate), rate, min(len(samples), 2))
        sample_rate = rate
    block = min(_GATING_BLOCK, math.nextafter(measured.shape[-1] / sample_rate, 0))
    # "DeMan" computes the standard's filters for any rate; the default approximates them.
    meter = pyloudnorm.Meter(sample_rate, filter_class="DeMan", block_size=block)
    return float(meter.integrated_loudness(measured.T))


def true_peak(samples: np.ndarray, sample_rate: int) -> float:
    """True peak of [channels, n], inter-sample peaks included, in dBTP; −inf for silence."""
    peak = float(step_peaks(samples, sample_rate, sample_rate).max(initial=0.0))
    return 20 * math.log10(peak) if peak else -math.inf


def step_peaks(samples: np.ndarray, sample_rate: int, step: int) -> np.ndarray:
    """True peaks of each ``step`` samples of [channels, n], as amplitudes: [⌈n / step⌉]."""
    if not samples.size:
        return np.zeros(0, np.float32)
    starts = np.arange(0, samples.shape[1], step)
    peaks = np.maximum.reduceat(np.abs(samples).max(axis=0), starts)
    size = _OVERSAMPLING * step
    for channel in samples.astype(np.float32, copy=False):
        place = 0
        for block in _oversampled(channel, sample_rate):
            firsts = np.arange(-(place % size), len(block), size).clip(0)
            highest = np.maximum.reduceat(np.abs(block), firsts)
            # The last block may go beyond the end: what rings there belongs to the last step.
            steps = np.minimum((place + firsts) // size, len(peaks) - 1)
            np.maximum.at(peaks, steps, highest)
            place += len(block)
    return peaks


def _oversampled(channel: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
    """A channel [n] in blocks of a second or so at ``_OVERSAMPLING`` times its rate."""
    seconds = (
        (channel[start : start + sample_rate, None], sample_rate, DEFAULT_ORDER)
        for start in range(0, len(channel), sample_rate)
    )
    for block in resample_blocks(seconds, _OVERSAMPLING * sample_rate):
        if len(block):
            yield block[:, 0]


def gains_to_match(levels: Iterable[float]) -> list[float]:
    """Gains of at most 1 that make takes as loud as the quietest one; 1 for silence.

    ``levels`` are the takes' loudness in LUFS, −inf for silence.
    """
    measured = [*levels]
    quietest = min(filter(math.isfinite, measured), default=0.0)
    return [gain_of(quietest - level) if math.isfinite(level) else 1.0 for level in measured]


def gain_of(decibels: float) -> float:
    """Decibels as an amplitude factor."""
    return float(10 ** (decibels / 20))

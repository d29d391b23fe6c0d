"""Brings a sound to the loudness of other music: by one gain, and a limiter for its peaks."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from musicgen_space.audio.mastering.limiter import Limiter
from musicgen_space.audio.mastering.loudness import (
    LOUDNESS,
    TRUE_PEAK,
    gain_of,
    loudness,
    true_peak,
)

__all__ = ["MOST_LIMITED", "Normalised", "normalise"]

# Decibels off the highest peak. More is where drums lose their stroke and sustained notes begin
# to pump; a take that would need it stays quieter.
MOST_LIMITED = 6.0

_CLOSE = 0.1  # LU: nobody hears less
_PASSES = 4  # two are usual
_LEAST_SLOPE = 0.25


class Normalised(NamedTuple):
    """Samples, and by how many decibels their highest peak was limited; 0: they are only scaled."""

    samples: np.ndarray
    limited: float


def normalise(samples: np.ndarray, sample_rate: int) -> Normalised:
    """A copy of [channels, n] at ``LOUDNESS``, or as near as ``MOST_LIMITED`` lets it come.

    Its true peak is at most ``TRUE_PEAK``. Silence stays as it is.
    """
    level = loudness(samples, sample_rate)
    if not math.isfinite(level):
        return Normalised(samples, 0.0)
    limiter = Limiter(samples, sample_rate, TRUE_PEAK)
    gain = LOUDNESS - level
    if limiter.over(gain) <= 0:
        return Normalised(samples * np.float32(gain_of(gain)), 0.0)
    made, gain = _limited(limiter, gain, sample_rate)
    # Of a sound whose gain moves, peaks between samples may come out a little higher.
    excess = max(0.0, true_peak(made, sample_rate) - TRUE_PEAK)
    made *= np.float32(gain_of(-excess))
    return Normalised(made, max(0.0, limiter.over(gain)))


def _limited(limiter: Limiter, wanted: float, sample_rate: int) -> tuple[np.ndarray, float]:
    """A limited copy, and its gain: the one that makes up for what limiting takes away."""
    most = MOST_LIMITED - limiter.over(0)
    gain, missing = wanted, limiter.loss(wanted)
    for _ in range(_PASSES):
        gain = min(gain + missing / _slope(limiter, gain), most)
        made = limiter.limited(gain)
        missing = 0.0 if gain == most else LOUDNESS - loudness(made, sample_rate)
        if abs(missing) < _CLOSE:
            break
    return made, gain


def _slope(limiter: Limiter, gain: float) -> float:
    """How many decibels louder a decibel more of ``gain`` is, about."""
    return max(_LEAST_SLOPE, 1 - (limiter.loss(gain) - limiter.loss(gain - 1)))

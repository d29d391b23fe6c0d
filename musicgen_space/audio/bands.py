"""How loud a sound is in bands of frequency, moment by moment, and where it has attacks."""

from __future__ import annotations

import numpy as np

__all__ = ["HOP_SECONDS", "attacks", "bands", "decibels"]

HOP_SECONDS = 0.01

_WINDOW_SECONDS = 0.032
_BANDS = 24
_LOWEST_HZ = 60.0
_FLOOR = 1e-7  # of the power in a band: silence is as good as any other silence
_ATTACK = 3.0  # dB, on average over the bands, below which a change is no attack


def bands(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """The power in bands of equal width in octaves: [frames, bands].

    There is a frame every ``HOP_SECONDS`` of the samples [channels, n].
    """
    hop, window = round(HOP_SECONDS * sample_rate), round(_WINDOW_SECONDS * sample_rate)
    padded = np.pad(samples.mean(axis=0), window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    weights = np.hanning(window)
    power = np.abs(np.fft.rfft(frames * weights, axis=1)) ** 2 / weights.sum() ** 2
    edges = np.geomspace(_LOWEST_HZ, sample_rate / 2, _BANDS + 1)
    bins = np.unique((edges * window / sample_rate).astype(int))
    summed: np.ndarray = np.add.reduceat(power[:, : bins[-1]], bins[:-1], axis=1)
    return summed


def decibels(power: np.ndarray) -> np.ndarray:
    """Of ``power``, not below a floor."""
    return np.asarray(10 * np.log10(power + _FLOOR))


def attacks(power: np.ndarray) -> np.ndarray:
    """How strong an attack each frame is, 0 … 1 of the strongest one: [frames]."""
    rise = np.maximum(np.diff(decibels(power), axis=0, prepend=decibels(power[:1])), 0)
    strength = rise.mean(axis=1)
    return np.asarray(strength / max(_ATTACK, strength.max()))

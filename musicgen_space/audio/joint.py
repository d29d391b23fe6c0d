"""Where one sound goes over into another: crossfades. Samples are float32 [channels, samples]."""

from __future__ import annotations

import numpy as np

__all__ = ["FADE_SECONDS", "crossfade"]

FADE_SECONDS = 0.08


def crossfade(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """From ``before`` to ``after``, both [channels, n], at constant power → [channels, n].

    Gains of cos and sin, whose squares add up to 1, suit unrelated sounds. Where the two go
    together their sum would be up to 3 dB too loud, and is divided by its expected amplitude.
    """
    length = before.shape[-1]
    phase = (np.arange(length) + 0.5) * (np.pi / 2 / max(length, 1))
    falling, rising = np.cos(phase), np.sin(phase)
    norm = np.sqrt(1 + 2 * _correlation(before, after) * falling * rising)
    faded: np.ndarray = (before * (falling / norm) + after * (rising / norm)).astype(np.float32)
    return faded


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """0 for unrelated, opposite or silent sounds … 1 for the same one."""
    power = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return max(0.0, float((one * other).sum()) / power) if power else 0.0

"""What can be told of a sound within a second or two: enough to say whether music has changed."""

from __future__ import annotations

import numpy as np

from musicgen_space.audio.bands import bands, decibels

__all__ = ["moved"]

_LEVEL, _MOVEMENT = 6.0, 3.0  # dB: a difference that is plain to hear


def moved(before: np.ndarray, now: np.ndarray, goal: np.ndarray, sample_rate: int) -> float:
    """How far ``now`` is on the way from ``before`` to ``goal``: 0 none of it, 1 there.

    All three are [channels, n], with n of a second or so. Between sounds that are alike
    there is no way to go: 1.
    """
    start, here, end = (_features(each, sample_rate) for each in (before, now, goal))
    way = end - start
    length = float(way @ way) / len(way)
    return 1.0 if length < 1 else float((here - start) @ way / (way @ way))


def _features(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Level and movement in each band, in steps that can be heard plainly."""
    levels = decibels(bands(samples, sample_rate))
    movement = np.abs(np.diff(levels, axis=0)).mean(axis=0)
    return np.concatenate([levels.mean(axis=0) / _LEVEL, movement / _MOVEMENT])

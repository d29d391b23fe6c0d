"""Peaks for drawing waveforms; the player computes the same in JavaScript."""

from __future__ import annotations

from typing import Any

import numpy as np

from musicgen_space.take import Take

__all__ = ["normalised_peaks", "peaks", "peaks_per_second", "waveform"]

_MAX_PEAKS = 600  # per take: its waveform is sent repeatedly while it grows
_MAX_PER_SECOND = 20


def peaks_per_second(seconds: float) -> int:
    """Peaks per second in the waveform of a take of ``seconds``."""
    return max(1, min(_MAX_PER_SECOND, int(_MAX_PEAKS / max(seconds, 1))))


def peaks(samples: np.ndarray, sample_rate: int, per_second: int) -> list[int]:
    """The peak of each 1/``per_second`` s, in percent of full scale.

    ``samples`` is [channels, samples]; a partial step at the end counts as one peak.
    """
    step = sample_rate // per_second
    loudness = np.abs(samples).max(axis=0)
    padded = np.pad(loudness, (0, -len(loudness) % step))
    percent = np.clip(padded.reshape(-1, step).max(axis=1) * 100, 0, 100)
    return [int(value) for value in percent.round()]


def waveform(take: Take) -> dict[str, Any]:
    """A finished take's waveform for the player, with its length in seconds."""
    per_second = peaks_per_second(take.duration)
    return {
        "wanted": take.duration,
        "peaks": peaks(take.samples, take.sample_rate, per_second),
        "peaks_per_second": per_second,
    }


def normalised_peaks(samples: np.ndarray, count: int) -> list[int]:
    """``samples`` [channels, n] as up to ``count`` peaks, in percent of the highest."""
    loudness = np.abs(samples).max(axis=0)
    starts = np.linspace(0, len(loudness), min(count, len(loudness)), endpoint=False).astype(int)
    highest = np.maximum.reduceat(loudness, starts)
    return [int(value) for value in (highest * 100 / max(highest.max(), 1e-6)).round()]

"""Peaks for drawing waveforms; ``bars.js`` makes them fit a width."""

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
    starts = np.arange(0, samples.shape[1], sample_rate // per_second)
    return _in_percent(np.minimum(_loudest(samples, starts), 1))


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
    length = samples.shape[1]
    starts = np.linspace(0, length, min(count, length), endpoint=False).astype(int)
    loudest = _loudest(samples, starts)
    return _in_percent(loudest / max(loudest.max(), 1e-6))


def _loudest(samples: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Of each stretch from one of ``starts`` to the next, or to the end, the loudest sample."""
    loudest: np.ndarray = np.maximum.reduceat(np.abs(samples).max(axis=0), starts)
    return loudest


def _in_percent(parts: np.ndarray) -> list[int]:
    return [int(value) for value in (parts * 100).round()]

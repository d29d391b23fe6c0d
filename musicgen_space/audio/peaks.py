"""Peaks: the loudness of a sound as waveforms show it. ``bars.js`` makes them fit a width."""

from __future__ import annotations

from typing import Any

import numpy as np

from musicgen_space.take import Take

__all__ = ["outline", "peaks", "peaks_per_second", "waveform"]

_PEAKS = 600  # of a whole take, whose waveform is sent again and again while it grows
_FINEST = 20  # a second


def peaks_per_second(seconds: float) -> int:
    """How many peaks a second the waveform of a take of this length has."""
    return max(1, min(_FINEST, int(_PEAKS / max(seconds, 1))))


def peaks(samples: np.ndarray, sample_rate: int, a_second: int) -> list[int]:
    """The loudest sample of each 1/``a_second`` s, in percent of full scale.

    ``samples`` is [channels, samples]; a short rest at the end counts as a whole peak.
    """
    starts = np.arange(0, samples.shape[1], sample_rate // a_second)
    return _in_percent(np.minimum(_loudest(samples, starts), 1))


def waveform(take: Take) -> dict[str, Any]:
    """A finished take's waveform for the player, with its length in seconds."""
    a_second = peaks_per_second(take.duration)
    return {
        "wanted": take.duration,
        "peaks": peaks(take.samples, take.sample_rate, a_second),
        "peaks_per_second": a_second,
    }


def outline(samples: np.ndarray, bars: int) -> list[int]:
    """``samples`` [channels, n] as up to ``bars`` peaks, in percent of the loudest of them."""
    length = samples.shape[1]
    starts = np.linspace(0, length, min(bars, length), endpoint=False).astype(int)
    loudest = _loudest(samples, starts)
    return _in_percent(loudest / max(loudest.max(), 1e-6))


def _loudest(samples: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Of each stretch from one of ``starts`` to the next, or to the end, the loudest sample."""
    loudest: np.ndarray = np.maximum.reduceat(np.abs(samples).max(axis=0), starts)
    return loudest


def _in_percent(parts: np.ndarray) -> list[int]:
    return [int(value) for value in (parts * 100).round()]

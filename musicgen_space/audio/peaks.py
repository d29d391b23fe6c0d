"""Peaks: the loudness of a sound as waveforms show it. The player has the same in JavaScript."""

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
    step = sample_rate // a_second
    loudness = np.abs(samples).max(axis=0)
    padded = np.pad(loudness, (0, -len(loudness) % step))
    percent = np.clip(padded.reshape(-1, step).max(axis=1) * 100, 0, 100)
    return [int(value) for value in percent.round()]


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
    loudness = np.abs(samples).max(axis=0)
    starts = np.linspace(0, len(loudness), min(bars, len(loudness)), endpoint=False).astype(int)
    highest = np.maximum.reduceat(loudness, starts)
    return [int(value) for value in (highest * 100 / max(highest.max(), 1e-6)).round()]

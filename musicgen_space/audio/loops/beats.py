"""Tempo and beats: Ellis 2007, "Beat Tracking by Dynamic Programming"."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Pulse", "find_pulse"]

_TEMPI = np.exp(np.linspace(np.log(50), np.log(200), 600))  # beats a minute
_LIKELY, _OCTAVES = 115.0, 0.9  # beats a minute that are likely, and the spread around them
# A beat is told by what repeats after it, after two and after four, and between beats less so.
_MULTIPLES = ((0.5, 0.3), (1.0, 1.0), (2.0, 0.6), (4.0, 0.6))  # beats, weight

# Noise, wavy noise and strokes at random come to 0.09; of 96 rendered pieces without a clear beat
# (pads, slow strings) 8 are below, of those with drums none is below 0.29.
_STEADY = 0.12

_TIGHTNESS = 100.0  # what leaving the tempo costs (librosa's)
_AVERAGE = 1.0  # seconds


class Pulse(NamedTuple):
    """A steady beat: beats a minute, and the frames of beats."""

    bpm: float
    beats: np.ndarray


def find_pulse(bands: np.ndarray, frame_rate: float) -> Pulse | None:
    """The beat in dB [frames, bands] of ``log_bands``; None where there is no steady one."""
    onsets = _onset_strength(bands, frame_rate)
    bpm, strength = _tempo(onsets, frame_rate)
    if strength < _STEADY:
        return None
    return Pulse(bpm, _beats(onsets, 60 * frame_rate / bpm))


def _onset_strength(bands: np.ndarray, frame_rate: float) -> np.ndarray:
    """How much louder bands become, above its local mean, in standard deviations: [frames]."""
    rise = np.maximum(np.diff(bands, axis=0, prepend=bands[:1]), 0).mean(axis=1)
    width = round(_AVERAGE * frame_rate)
    padded = np.pad(rise, (width // 2, width - width // 2 - 1), mode="edge")
    onsets = np.maximum(rise - np.convolve(padded, np.ones(width) / width, mode="valid"), 0)
    scaled: np.ndarray = onsets / max(float(onsets.std()), 1e-9)
    return scaled


def _tempo(onsets: np.ndarray, frame_rate: float) -> tuple[float, float]:
    """Beats a minute, and how strongly onsets repeat at it: 1 is a perfect machine."""
    correlation = _autocorrelation(onsets)
    lags = 60 * frame_rate / _TEMPI
    score = sum(
        weight * np.interp(lags * multiple, np.arange(len(correlation)), correlation)
        for multiple, weight in _MULTIPLES
    ) / sum(weight for _, weight in _MULTIPLES)
    likely = np.exp(-0.5 * (np.log2(_TEMPI / _LIKELY) / _OCTAVES) ** 2)
    best = int(np.argmax(score * likely))
    return float(_TEMPI[best]), float(score[best])


def _autocorrelation(values: np.ndarray) -> np.ndarray:
    """At each lag the mean product, of which 1 is that at lag 0; 0 throughout for silence."""
    length = len(values)
    power = np.square(np.abs(np.fft.rfft(values - values.mean(), 2 * length)))
    products = np.fft.irfft(power)[:length]
    # The longest lags have few products: they are not scaled up as much.
    products *= length / np.maximum(length - np.arange(length), length // 4)
    correlation: np.ndarray = products / max(products[0], 1e-9)
    return correlation


def _beats(onsets: np.ndarray, period: float) -> np.ndarray:
    """Frames of beats: the path that meets the strongest onsets and keeps the tempo."""
    local = np.convolve(onsets, np.exp(-0.5 * (np.arange(-8, 9) / (period / 32)) ** 2), "same")
    steps = np.arange(round(period / 2), round(2 * period) + 1)
    cost = -_TIGHTNESS * np.log(steps / period) ** 2
    score, before = local.copy(), np.full(len(local), -1)
    for frame in range(len(local)):
        known = steps[: np.searchsorted(steps, frame, side="right")]
        if len(known):
            reached = score[frame - known] + cost[: len(known)]
            best = int(np.argmax(reached))
            if reached[best] > 0:
                score[frame] += reached[best]
                before[frame] = frame - known[best]
    last = len(score) - round(period)
    path = [max(last, 0) + int(np.argmax(score[max(last, 0) :]))]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])

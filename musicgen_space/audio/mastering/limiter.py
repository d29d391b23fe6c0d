"""A look-ahead limiter: takes peaks down to a ceiling, and leaves everything else alone.

The gain is worked out once a millisecond, in decibels below what was asked for::

    what each step's true peak exceeds the ceiling by      ▁▁▁▁█▁▁▁▁▁▁▁▁▁▁▁▁
    its maximum within the look-ahead, to either side      ▁▁▁███▁▁▁▁▁▁▁▁▁▁▁
    held, and released exponentially                       ▁▁▁███▇▆▅▄▄▃▃▂▂▂▁
    averaged over the look-ahead: no corners               ▁▂▄▇██▇▆▅▄▄▃▃▂▂▂▁

and interpolated between steps. Averaging can't fall short: everything that is averaged at a peak
is a maximum that includes it. All channels get one gain, so that nothing moves between them.
"""

from __future__ import annotations

import numpy as np

from musicgen_space.audio.mastering.loudness import step_peaks

__all__ = ["Limiter"]

# Those of Spotify's limiter: "Loudness normalization", 5 ms of attack and 100 ms of decay.
_LOOK_AHEAD = 0.005  # seconds
_RELEASE = 0.1  # seconds, to 1/e of the decibels

_STEP = 0.001  # seconds
_BLOCK = 2**16  # samples that are worked on at a time


class Limiter:
    """Limits ``samples`` [channels, n] at ``sample_rate`` Hz to a true peak of ``ceiling`` dBTP.

    They are measured once, and can then be limited with several gains, in decibels.
    """

    def __init__(self, samples: np.ndarray, sample_rate: int, ceiling: float) -> None:
        self._samples = samples
        self._step = max(1, round(_STEP * sample_rate))
        steps_ahead = max(1, round(_LOOK_AHEAD * sample_rate / self._step))
        self._ahead = steps_ahead
        self._decay = self._step / (_RELEASE * sample_rate)
        with np.errstate(divide="ignore"):  # silence: −inf
            self._over = 20 * np.log10(step_peaks(samples, sample_rate, self._step)) - ceiling
        self._powers = _powers(samples, self._step)

    def over(self, gain: float) -> float:
        """How far the highest peak exceeds the ceiling after ``gain``; at most 0: not at all."""
        return float(self._over.max(initial=-np.inf)) + gain

    def loss(self, gain: float) -> float:
        """What limiting takes off the mean power of a sound that had ``gain``: about its loudness.

        In decibels, never below 0.
        """
        total = self._powers.sum()
        kept = self._powers @ _factors(-2 * self._reduction(gain)[:-1])
        return float(10 * np.log10(total / kept)) if total else 0.0

    def limited(self, gain: float) -> np.ndarray:
        """A copy with ``gain``, limited."""
        return self._scaled(_factors(gain - self._reduction(gain)))

    def _reduction(self, gain: float) -> np.ndarray:
        """Decibels at the edges of all steps, [steps + 1], never below 0."""
        over = np.maximum(self._over + gain, 0)
        edges = np.maximum(np.append(over, 0), np.insert(over, 0, 0))
        return _smoothed(_released(_widest(edges, self._ahead), self._decay), self._ahead)

    def _scaled(self, factors: np.ndarray) -> np.ndarray:
        scaled = np.empty_like(self._samples)
        edges = np.arange(len(factors)) * self._step
        for start in range(0, scaled.shape[1], _BLOCK):
            block = self._samples[:, start : start + _BLOCK]
            places = np.arange(start, start + block.shape[1])
            scaled[:, start : start + _BLOCK] = block * np.interp(places, edges, factors)
        return scaled


def _factors(decibels: np.ndarray) -> np.ndarray:
    factors: np.ndarray = 10 ** (decibels / 20)
    return factors


def _powers(samples: np.ndarray, step: int) -> np.ndarray:
    """The power of each ``step`` samples of [channels, n], of all channels together."""
    powers = np.zeros(-(-samples.shape[1] // step))
    for start in range(0, samples.shape[1], _BLOCK * step):
        squares = np.square(samples[:, start : start + _BLOCK * step], dtype=np.float64)
        sums = np.add.reduceat(squares.sum(axis=0), np.arange(0, squares.shape[1], step))
        powers[start // step : start // step + len(sums)] = sums
    return powers


def _widest(values: np.ndarray, reach: int) -> np.ndarray:
    """Of each value, the maximum of it and of ``reach`` to either side."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, reach), 2 * reach + 1)
    widest: np.ndarray = windows.max(axis=1)
    return widest


def _released(values: np.ndarray, decay: float) -> np.ndarray:
    """The highest of each value and all before it, which fade by ``decay`` a step.

    max over k ≤ n of v[k] · exp(decay · (k − n)), by the running maximum of its logarithm.
    """
    slope = decay * np.arange(len(values))
    with np.errstate(divide="ignore"):
        released: np.ndarray = np.exp(np.maximum.accumulate(np.log(values) + slope) - slope)
    return released


def _smoothed(values: np.ndarray, reach: int) -> np.ndarray:
    """Averages with a Hann window of ``reach`` to either side."""
    window = np.hanning(2 * reach + 3)[1:-1]
    padded = np.pad(values, reach, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")

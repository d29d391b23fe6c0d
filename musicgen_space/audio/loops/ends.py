"""Where a loop can start and end: pairs of moments whose surroundings sound alike."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from musicgen_space.audio.loops.beats import Pulse

__all__ = ["Ends", "aligned", "bar_ends", "beats_of_bar", "free_ends"]

_SHARE = 0.5  # of the take, at least; below it, the longest loop there is
_AROUND = 0.6  # seconds to either side of a joint that are compared
_COARSE = 5  # frames that are averaged: 50 ms
_STARTS = 48  # that are tried, at most
_SHORTER = 0.5  # dB that a loop of half the length must fit better
_NEAR = 4  # frames around a beat, where it is struck
_ENOUGH = 12  # beats that tell the length of a bar
_SPLITS = (6, 24)  # bands: at about 450 and 2,700 Hz
# How much more alike beats must be three apart than four: rendered waltzes come to 0.67 at most,
# other pieces to 0.77 at least.
_TRIPLE = 0.72


class Ends(NamedTuple):
    """Frames of a loop's start and end, and the bars between them; 0: without bars."""

    start: int
    end: int
    bars: int


def bar_ends(bands: np.ndarray, pulse: Pulse, beats_in_bar: int, frame_rate: float) -> Ends | None:
    """The whole bars whose ends fit best; None where the take has not one."""
    beats = pulse.beats
    pairs = [
        (int(beats[first]), int(beats[last]))
        for first in range(min(len(beats), _STARTS))
        for last in range(first + beats_in_bar, len(beats), beats_in_bar)
    ]
    best = _best(bands, pairs, frame_rate)
    if best is None:
        return None
    counted = np.searchsorted(beats, best[1]) - np.searchsorted(beats, best[0])
    return Ends(*best, int(counted) // beats_in_bar)


def free_ends(bands: np.ndarray, frame_rate: float) -> Ends:
    """The stretch whose ends fit best, wherever they are; of what is too short to tell, most."""
    starts = np.linspace(0, len(bands) // 2, _STARTS, dtype=int)
    ends = np.linspace(len(bands) // 2 + 1, len(bands) - 1, _STARTS, dtype=int)
    best = _best(bands, list(product(starts.tolist(), ends.tolist())), frame_rate)
    return Ends(*best, 0) if best else Ends(0, len(bands) * 3 // 4, 0)


def beats_of_bar(bands: np.ndarray, pulse: Pulse) -> int:
    """3 or 4: what is struck on beats as far apart as a bar is long sounds more alike."""
    rises = np.maximum(np.diff(bands, axis=0, prepend=bands[:1]), 0)
    near = (pulse.beats[:, None] + np.arange(-_NEAR, _NEAR + 1)).clip(0, len(rises) - 1)
    # Low, middle, high: finer, and a change of the chord would tell beats apart.
    strokes = np.stack(
        [part.mean(axis=1) for part in np.split(rises[near].sum(axis=1), _SPLITS, axis=1)], axis=1
    )
    if len(strokes) < _ENOUGH:
        return 4
    apart = {
        beats: np.mean([np.abs(strokes[n:] - strokes[:-n]).mean() for n in (beats, 2 * beats)])
        for beats in (3, 4)
    }
    return 3 if apart[3] < _TRIPLE * apart[4] else 4


def aligned(sound: np.ndarray, start: int, end: int, reach: int, width: int) -> int:
    """``end``, moved by up to ``reach`` samples to where [n] is most like it is at ``start``.

    ``width`` samples to either side are compared.
    """
    width = min(width, start + width, len(sound) - end - reach + width)
    low, high = max(0, start - width), start + width
    first, last = end - (start - low) - reach, end + width + reach
    if first < 0 or last > len(sound) or high > len(sound):
        return end
    pattern, within = sound[low:high], sound[first:last]
    products = np.correlate(within, pattern, mode="valid")
    energies = np.convolve(np.square(within), np.ones(len(pattern)), mode="valid")
    likeness = products / np.sqrt(np.maximum(energies, 1e-9))
    return end - reach + int(np.argmax(likeness))


def _best(
    bands: np.ndarray, pairs: list[tuple[int, int]], frame_rate: float
) -> tuple[int, int] | None:
    """The pair (start, end) of frames that fits best, long loops before short ones."""
    if not pairs:
        return None
    longest = max(end - start for start, end in pairs)
    long = [pair for pair in pairs if pair[1] - pair[0] >= min(longest, _SHARE * len(bands))]
    coarse = _averaged(bands, _COARSE)
    reach = max(1, round(_AROUND * frame_rate / _COARSE))
    misfits = [_misfit(coarse, reach, pair, longest) for pair in long]
    best = int(np.argmin(misfits))
    return long[best] if np.isfinite(misfits[best]) else None


def _misfit(coarse: np.ndarray, reach: int, pair: tuple[int, int], longest: int) -> float:
    """How far the surroundings of both ends are apart, in dB, and what being short costs."""
    start, end = (round(frame / _COARSE) for frame in pair)
    before, after = min(reach, start), min(reach, len(coarse) - end)
    if before + after < reach:  # too little to tell
        return float("inf")
    one, other = coarse[start - before : start + after], coarse[end - before : end + after]
    shorter = np.log2(longest / (pair[1] - pair[0]))
    return float(np.abs(one - other).mean() + _SHORTER * shorter)


def _averaged(bands: np.ndarray, count: int) -> np.ndarray:
    """The means of each ``count`` frames."""
    whole = len(bands) // count
    if not whole:
        return bands
    averaged: np.ndarray = bands[: whole * count].reshape(whole, count, -1).mean(axis=1)
    return averaged

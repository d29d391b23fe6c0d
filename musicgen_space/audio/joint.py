"""Where one sound goes over into another: crossfades, and the best moment for one.

Samples are float32 [channels, samples].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from musicgen_space.audio.bands import HOP_SECONDS, attacks, bands, decibels

__all__ = ["AROUND_SECONDS", "FADE_SECONDS", "Joint", "crossfade", "find_joint"]

FADE_SECONDS = 0.08
AROUND_SECONDS = 0.4  # on each side of a moment, that two sounds are compared over

_BEAT_WEIGHT = 0.2  # of an attack that both have, against being alike
_BEFORE_ATTACK = 0.01  # seconds


@dataclass(frozen=True, slots=True)
class Joint:
    """The best place for a crossfade: it ends at sample ``at``.

    ``match``, 0 … 1, says how alike both sounds are there: 1 is the same. ``level_jump`` is how
    much louder the second one is, in dB.
    """

    at: int
    match: float
    level_jump: float


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


def find_joint(before: np.ndarray, after: np.ndarray, sample_rate: int) -> Joint:
    """Where to go over from ``before`` to ``after``, which sound at the same time: [channels, n].

    Not in the first and the last ``AROUND_SECONDS``, and n is more than twice that. What
    counts is that the two are alike, in spectrum, rhythm and level, and that both have an
    attack there: the crossfade ends just before it, and the attack hides it.
    """
    hop, around = round(HOP_SECONDS * sample_rate), round(AROUND_SECONDS / HOP_SECONDS)
    old, new = bands(before, sample_rate), bands(after, sample_rate)
    alike, jump = _alike(old, new, around), _level_jump(old, new, around)
    match = alike * 10 ** (-np.abs(jump) / 20)
    beat = np.sqrt(attacks(old) * attacks(new))[around : around + len(match)]
    best = int(np.argmax(match + _BEAT_WEIGHT * beat))
    at = (best + around) * hop - round(_BEFORE_ATTACK * sample_rate)
    return Joint(at, float(match[best]), float(jump[best]))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """0 for unrelated, opposite or silent sounds … 1 for the same one."""
    power = math.sqrt(float((one**2).sum()) * float((other**2).sum()))
    return max(0.0, float((one * other).sum()) / power) if power else 0.0


def _alike(old: np.ndarray, new: np.ndarray, around: int) -> np.ndarray:
    """The correlation of the two spectrograms around each moment, 0 … 1: [frames − 2 around].

    They count as they differ from the mean spectrum of the second, which all of it shares.
    """
    usual = decibels(new).mean(axis=0)
    one, other = decibels(old) - usual, decibels(new) - usual
    both = _around((one * other).sum(axis=1), around)
    power = _around((one**2).sum(axis=1), around) * _around((other**2).sum(axis=1), around)
    return np.asarray(np.clip(both / np.sqrt(np.maximum(power, 1e-9)), 0, 1))


def _level_jump(old: np.ndarray, new: np.ndarray, around: int) -> np.ndarray:
    """How much louder the second is around each moment, in dB: [frames − 2 around]."""
    levels = (_around(each.sum(axis=1), around) / (2 * around) for each in (old, new))
    before, after = (decibels(level) for level in levels)
    return np.asarray(after - before)


def _around(values: np.ndarray, width: int) -> np.ndarray:
    """Sums over ``width`` values before and after each that has so many: [n − 2 width]."""
    return np.asarray(np.convolve(values, np.ones(2 * width), "valid")[:-1])

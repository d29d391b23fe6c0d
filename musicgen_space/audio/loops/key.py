"""The key of a sound, among the 24 of major and minor.

Krumhansl's key-finding (1990, "Cognitive Foundations of Musical Pitch", chapter 4): how much of
each pitch class there is, compared with what a key has of it.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from musicgen_space.audio.loops.spectra import spectra

__all__ = ["KEYS", "find_key"]

_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
# How often each pitch class occurs in a key on C: Albrecht & Shanahan 2013, "The Use of Large
# Corpora to Train a New Type of Key-Finding Algorithm". Of 96 rendered pieces these tell the key
# of 55, those of Krumhansl & Kessler 38.
_PROFILES = MappingProxyType(
    {
        "major": np.array([238, 6, 111, 6, 137, 94, 16, 214, 9, 80, 8, 81]) / 1000,
        "minor": np.array([220, 6, 104, 123, 19, 103, 12, 214, 62, 22, 61, 52]) / 1000,
    }
)
KEYS = tuple(f"{name} {mode}" for mode in _PROFILES for name in _NAMES)

# Hz from, Hz to, seconds of a window, weight: the bass says where the chords stand.
_RANGES = ((200, 2000, 0.256, 1.0), (40, 200, 0.512, 0.3))
_TUNING = 440.0  # Hz of an A
_OFF = 0.3  # semitones: how far off a pitch may be
_FAINT = 0.01  # of the loudest frame: what is quieter counts less than others

_CLEAR = 0.6  # of 1: the least likeness to a key; noise has 0.26, musicgen-nano's takes to 0.55


def find_key(sound: np.ndarray, sample_rate: int) -> str | None:
    """One of ``KEYS`` for [n]; None where no key is clear, as in noise, drums or silence."""
    weights = sum(
        weight * _pitch_classes(sound, sample_rate, low, high, window)
        for low, high, window, weight in _RANGES
    )
    assert isinstance(weights, np.ndarray)
    if not weights.std():  # silence
        return None
    profiles = [np.roll(profile, root) for profile in _PROFILES.values() for root in range(12)]
    likeness = np.corrcoef(weights, profiles)[0, 1:]
    best = int(np.argmax(likeness))
    return KEYS[best] if likeness[best] >= _CLEAR else None


def _pitch_classes(
    sound: np.ndarray, sample_rate: int, low: float, high: float, window: float
) -> np.ndarray:
    """How much there is of each pitch class from ``low`` to ``high`` Hz: [12], C first.

    Every moment counts the same, however loud; only what is hardly heard counts less.
    """
    size = round(window * sample_rate)
    chroma = spectra(sound, size, size // 4, _classes(size, sample_rate, low, high), power=False)
    loudest = chroma.max(axis=1, keepdims=True)
    heard: np.ndarray = chroma / np.maximum(loudest, max(_FAINT * float(loudest.max()), 1e-9))
    mean: np.ndarray = heard.mean(axis=0)
    return mean


def _classes(size: int, sample_rate: int, low: float, high: float) -> np.ndarray:
    """How near each frequency of a window is to each pitch class: [size // 2 + 1, 12]."""
    hertz = np.fft.rfftfreq(size, 1 / sample_rate)
    inside = (hertz >= low) & (hertz <= high)
    semitones = 69 + 12 * np.log2(np.maximum(hertz, 1.0) / _TUNING)  # MIDI: C is 0, 12, …
    off = (semitones[:, None] - np.arange(12) + 6) % 12 - 6
    nearness: np.ndarray = np.exp(-0.5 * (off / _OFF) ** 2) * inside[:, None]
    return nearness

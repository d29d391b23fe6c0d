"""Tempo, mode and percussion of a sound, as plain signal processing hears them."""

from __future__ import annotations

import librosa
import numpy as np
from librosa.decompose import hpss
from librosa.onset import onset_strength

__all__ = ["CHROMA_RATE", "chroma", "mode_of", "percussive_share", "tempo_of"]

CHROMA_RATE = 10  # frames a second
_TEMPO_HOP = 256  # samples: at 32 kHz, one step of the lag is 2 % of 150 bpm

# How well each pitch class fits a key on C (Krumhansl & Kessler 1982, table 1).
_MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
_MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])


def tempo_of(sound: np.ndarray, rate: int) -> float:
    """Beats a minute: the strongest period of the onsets.

    librosa's estimate (Ellis 2007), which prefers tempi near 120: half or double are easily
    mistaken for each other.
    """
    onsets = onset_strength(y=sound, sr=rate, hop_length=_TEMPO_HOP)
    return float(librosa.feature.tempo(onset_envelope=onsets, sr=rate, hop_length=_TEMPO_HOP)[0])


def chroma(sound: np.ndarray, rate: int) -> np.ndarray:
    """How strong each pitch class is, C first: [12, frames], ``CHROMA_RATE`` frames a second."""
    result: np.ndarray = librosa.feature.chroma_cqt(
        y=sound, sr=rate, hop_length=rate // CHROMA_RATE, norm=None, n_octaves=6
    )
    return result


def mode_of(chroma: np.ndarray) -> str:
    """The mode of chroma [12, frames], major or minor: that of the key that correlates best.

    Krumhansl 1990, "Cognitive Foundations of Musical Pitch", chapter 4.
    """
    heard = chroma.sum(axis=1)
    best = {
        mode: max(np.corrcoef(heard, np.roll(profile, root))[0, 1] for root in range(12))
        for mode, profile in (("major", _MAJOR), ("minor", _MINOR))
    }
    return max(best, key=lambda mode: best[mode])


def percussive_share(sound: np.ndarray) -> float:
    """The share of energy in what is short and broad rather than long and narrow.

    Median filtering of the spectrogram (Fitzgerald 2010).
    """
    spectrum = librosa.stft(sound, n_fft=512, hop_length=512)
    harmonic, percussive = (np.abs(part) ** 2 for part in hpss(spectrum))
    return float(percussive.sum() / max(harmonic.sum() + percussive.sum(), 1e-12))

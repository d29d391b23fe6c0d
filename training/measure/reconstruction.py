"""What the codec keeps of a sound, and how much of its codebooks it uses."""

from __future__ import annotations

from dataclasses import dataclass

import librosa
import numpy as np

__all__ = ["CodebookUse", "codebook_use", "mel_distance", "si_sdr"]

_WINDOWS = ((2048, 150), (512, 80))  # samples, mel bands: those of DAC's evaluation
_FLOOR = 1e-5  # of a magnitude: −100 dB


@dataclass(frozen=True, slots=True)
class CodebookUse:
    """``share`` of a codebook's entries that occur; ``perplexity``: as many equally frequent."""

    share: float
    perplexity: float


def mel_distance(original: np.ndarray, other: np.ndarray, rate: int) -> float:
    """Mean absolute difference of two sounds' mel spectrograms, in dB.

    Over magnitudes of 150 bands with windows of 2048 samples and 80 bands with 512, hops of a
    quarter window, nothing below −100 dB. These are the windows of the mel distance in Kumar et
    al. 2023 ("High-Fidelity Audio Compression with Improved RVQGAN"), as its logarithmic term.
    """
    differences = [
        np.abs(_mel(original, rate, *window) - _mel(other, rate, *window)).mean()
        for window in _WINDOWS
    ]
    return float(np.mean(differences))


def _mel(sound: np.ndarray, rate: int, window: int, bands: int) -> np.ndarray:
    """[n] → dB [bands, frames]."""
    mel = librosa.feature.melspectrogram(
        y=sound, sr=rate, n_fft=window, hop_length=window // 4, n_mels=bands, power=1
    )
    level: np.ndarray = 20 * np.log10(np.maximum(mel, _FLOOR))
    return level


def si_sdr(original: np.ndarray, other: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, equation 3)."""
    original, other = original.astype(float), other.astype(float)
    target = original * (original @ other) / max(original @ original, 1e-12)
    rest = target - other
    return float(10 * np.log10(max(target @ target, 1e-12) / max(rest @ rest, 1e-12)))


def codebook_use(codes: np.ndarray, entries: int) -> list[CodebookUse]:
    """Of each codebook of ``codes`` [pieces, K, T], which has ``entries``.

    Perplexity is e to the entropy of how often the entries occur: ``entries`` if all do alike.
    """
    uses = []
    for codebook in codes.transpose(1, 0, 2):
        counts = np.bincount(codebook.ravel(), minlength=entries)
        shares = counts[counts > 0] / counts.sum()
        entropy = -(shares * np.log(shares)).sum()
        uses.append(CodebookUse(float((counts > 0).mean()), float(np.exp(entropy))))
    return uses

"""Spectra of a sound over time, as the other modules here need them."""

from __future__ import annotations

import numpy as np

__all__ = ["hop_of", "log_bands", "mono", "spectra"]

_WINDOW = 0.064  # seconds
_BANDS, _LOWEST, _HIGHEST = 40, 40.0, 11_000.0  # Hz
_RANGE = 80.0  # dB below the loudest that count
_NOTHING = 1e-10  # the power of silence
_AT_ONCE = 2**9  # frames: some megabytes


def mono(samples: np.ndarray) -> np.ndarray:
    """[channels, n] → the mean of the channels, [n]."""
    mean: np.ndarray = samples.mean(axis=0, dtype=np.float32)
    return mean


def spectra(
    sound: np.ndarray, window: int, hop: int, bands: np.ndarray, *, power: bool
) -> np.ndarray:
    """Magnitude, or power, of Hann windows around each ``hop`` samples of [n]: [frames, bands].

    ``bands`` [window // 2 + 1, bands] says how much of each frequency goes to each band.
    """
    padded = np.pad(sound, (window // 2, window - window // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    shape = np.hanning(window + 1)[:-1].astype(np.float32)
    blocks = []
    for start in range(0, len(frames), _AT_ONCE):
        magnitude = np.abs(np.fft.rfft(frames[start : start + _AT_ONCE] * shape))
        blocks.append((np.square(magnitude) if power else magnitude) @ bands)
    return np.concatenate(blocks)


def hop_of(sample_rate: int) -> int:
    """Samples from one frame of ``log_bands`` to the next: about 10 ms."""
    return max(1, sample_rate // 100)


def log_bands(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """[n] → dB above 80 below the loudest, [frames, bands]; 0 where it is quieter."""
    window = round(_WINDOW * sample_rate)
    bands = _triangles(window, sample_rate)
    power = spectra(sound, window, hop_of(sample_rate), bands, power=True)
    level = 10 * np.log10(np.maximum(power, _NOTHING))
    above: np.ndarray = np.maximum(level - (level.max() - _RANGE), 0)
    return above.astype(np.float32)


def _triangles(window: int, sample_rate: int) -> np.ndarray:
    """Triangular filters, as far from each other as mel is: [window // 2 + 1, bands]."""
    hertz = np.fft.rfftfreq(window, 1 / sample_rate)
    highest = min(_HIGHEST, sample_rate / 2)
    edges = _hertz(np.linspace(_mel(_LOWEST), _mel(highest), _BANDS + 2))
    rise = (hertz[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - hertz[:, None]) / np.diff(edges)[1:]
    triangles: np.ndarray = np.maximum(np.minimum(rise, fall), 0)
    return triangles


def _mel(hertz: float) -> float:
    """O'Shaughnessy's formula."""
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: np.ndarray) -> np.ndarray:
    hertz: np.ndarray = 700 * (10 ** (mel / 2595) - 1)
    return hertz

"""A mel spectrogram as a PNG."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image

__all__ = ["spectrogram"]

_WINDOW = 2048  # samples
_MEL_BANDS = 160
_LOWEST_HZ = 40.0
_RANGE_DB = 80.0
_MAX_COLUMNS = 1200
# From silence to full level: night blue, violet, the page's accent, cream.
_COLOURS = np.array(
    [[13, 12, 34], [58, 32, 110], [124, 58, 196], [232, 96, 122], [255, 232, 190]], float
)


def spectrogram(samples: np.ndarray, sample_rate: int) -> bytes:
    """A PNG: time to the right, pitch (mel) upwards, level in dB as colour."""
    mono = samples.mean(axis=0)
    hop = max(_WINDOW // 8, -(-len(mono) // _MAX_COLUMNS))
    padded = np.pad(mono, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1)) ** 2
    mel = power @ _mel_filters(sample_rate).T
    level = 10 * np.log10(np.maximum(mel, 1e-10))
    shade = np.clip((level - level.max()) / _RANGE_DB + 1, 0, 1)
    image = Image.fromarray(_coloured(shade.T[::-1]))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _coloured(shade: np.ndarray) -> np.ndarray:
    """0 … 1 [height, width] → RGB bytes [height, width, 3]."""
    stops = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(shade, stops, _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


@lru_cache(maxsize=4)
def _mel_filters(sample_rate: int) -> np.ndarray:
    """Triangular filters [bands, bins]; mel = 2595 log10(1 + Hz / 700) (O'Shaughnessy 1987)."""
    lowest, highest = (2595 * np.log10(1 + hz / 700) for hz in (_LOWEST_HZ, sample_rate / 2))
    edges = 700 * (10 ** (np.linspace(lowest, highest, _MEL_BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_WINDOW, 1 / sample_rate)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rising, falling))
    # Low bands are narrower than a bin: give each at least its nearest one.
    nearest = np.abs(bins - edges[1:-1, None]).argmin(axis=1)
    filters[np.arange(_MEL_BANDS), nearest] = np.maximum(
        filters[np.arange(_MEL_BANDS), nearest], 1e-3
    )
    return np.asarray(filters)

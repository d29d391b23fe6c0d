"""Finds the silent or noisy tail of a take, by level and spectral flatness.

After the music has ended, a model generates silence or hiss until the requested length. What
could be music is kept:

- silence is 60 dB below the loudest moment, where reverberation is said to be over;
- noise has about as much power in high octaves as in low ones: music has far more in the low;
- noise is rough, as much between notes as on them, and no steady chord is;
- noise stays at one level: cymbals and reverberation die away, drums beat, a riser rises;
- noise is a good deal quieter than the take: a roll of drums at the end is not;
- noise is not what the take is made of: where rain or static is heard earlier, it stays.

No single octave has to be flat, because EnCodec adds tones to noise.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

__all__ = ["tail_start"]

_SILENCE = 10 ** (-60 / 10)  # of the power in the loudest step
_SHORTEST_SILENCE = 0.5  # seconds

_STEP = 0.05  # seconds per level
_BLOCK = 5  # steps per spectrum, averaged over …
_FRAME = 0.125  # … FFTs of so many seconds, 8 Hz per bin
_WINDOW = 4  # blocks that are judged together: noise averages out within a second
_SHORTEST_NOISE = 3  # such windows, half of a second more than one
_EDGES = 125 * 2.0 ** np.arange(7)  # Hz: six octaves

# From 20 takes of musicgen-nano in 20 styles, and noise with and without EnCodec:
_BALANCE = 0.45  # flatness of one octave against another: music to 0.4, noise from 0.6
_ROUGHNESS = 0.3  # flatness within octaves, their mean: noise from 0.33
_SPREAD = 2.5  # dB, standard deviation of a window's levels: noise to 2
_SLOPE = 1.5  # dB per second; the slowest cymbals lose 4
_QUIETER = 10 ** (-6 / 10)  # of the power before
_STYLE = 0.1  # of the windows before


def tail_start(samples: np.ndarray, sample_rate: int) -> int:
    """The sample at which a silent or noisy tail begins; the length where there is none.

    A tail is never more than half of a take. ``samples`` is [channels, n].
    """
    end = _silence_start(samples, sample_rate)
    half = (int(samples.shape[-1]) + 1) // 2
    return max(_noise_start(samples[:, :end], sample_rate), half)


def _silence_start(samples: np.ndarray, sample_rate: int) -> int:
    """Where the silence at the end begins; the length where there is none, or nothing else."""
    length, step = int(samples.shape[-1]), _step(sample_rate)
    powers = _powers(samples, step)
    audible = np.flatnonzero(powers > _SILENCE * powers.max(initial=0.0))
    silent = (len(powers) - 1 - int(audible[-1])) * step if audible.size else 0
    return length - silent if silent >= _SHORTEST_SILENCE * sample_rate else length


def _noise_start(samples: np.ndarray, sample_rate: int) -> int:
    """Where the noise at the end begins; the length where there is none."""
    length, step = int(samples.shape[-1]), _step(sample_rate)
    block = _BLOCK * step
    if sample_rate < 2 * _EDGES[-1]:
        return length  # too low a bandwidth to tell noise from music
    starts = range(length % block, length, block)  # whole blocks, up to the very end
    blocks = [samples[:, start : start + block] for start in starts]
    powers = np.array([_powers(part, step) for part in blocks])  # [blocks, steps]
    octaves = [_octaves(part, sample_rate) for part in blocks]
    noisy = [
        _is_noise(powers[first : first + _WINDOW], octaves[first : first + _WINDOW])
        for first in range(len(blocks) - _WINDOW + 1)
    ]
    first = len(noisy)
    while first and noisy[first - 1]:
        first -= 1
    before, tail = powers[:first], powers[first:]
    if (
        len(noisy) - first < _SHORTEST_NOISE
        or sum(noisy[:first]) >= _STYLE * first
        or tail.mean() > _QUIETER * before.mean()
        or abs(_slope(tail)) > _SLOPE
    ):
        return length
    return starts[first]


def _step(sample_rate: int) -> int:
    return max(1, round(_STEP * sample_rate))


def _powers(samples: np.ndarray, step: int) -> np.ndarray:
    """The power of each whole step, up to the very end."""
    steps = samples[:, samples.shape[-1] % step :].reshape(len(samples), -1, step)
    powers: np.ndarray = np.square(steps).mean(axis=(0, 2))
    return powers


def _octaves(block: np.ndarray, sample_rate: int) -> list[np.ndarray]:
    """The power spectrum of a block, octave by octave."""
    frame = round(_FRAME * sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(block, frame, axis=1)[:, :: frame // 2]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(frame)))).mean(axis=(0, 1))
    edges = np.round(_EDGES * frame / sample_rate).astype(int)
    return [power[low:high] for low, high in pairwise(edges)]


def _is_noise(powers: np.ndarray, octaves: list[list[np.ndarray]]) -> bool:
    if _decibels(powers).std() > _SPREAD:
        return False
    spectrum = [np.mean(blocks, axis=0) for blocks in zip(*octaves, strict=True)]
    balance = _flatness(np.array([octave.mean() for octave in spectrum]))
    roughness = float(np.mean([_flatness(octave) for octave in spectrum]))
    return balance > _BALANCE and roughness > _ROUGHNESS


def _flatness(power: np.ndarray) -> float:
    """Spectral flatness, geometric / arithmetic mean: 1 for white noise, near 0 for tones."""
    power = power + 1e-20
    return float(np.exp(np.log(power).mean()) / power.mean())


def _slope(powers: np.ndarray) -> float:
    """Decibels per second of [blocks, steps]."""
    levels = _decibels(powers).ravel()
    return float(np.polyfit(np.arange(levels.size) * _STEP, levels, 1)[0])


def _decibels(powers: np.ndarray) -> np.ndarray:
    levels: np.ndarray = 10 * np.log10(powers + 1e-12)
    return levels

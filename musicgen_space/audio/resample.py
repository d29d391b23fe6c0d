"""Channels and sample rates: many channels become two, any rate another one.

soxr resamples. It is imported where it is used: the page starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MappingProxyType

import numpy as np

from musicgen_space.clip import Clip
from musicgen_space.errors import UnreadableAudio

__all__ = [
    "OGG_ORDER",
    "SILENCE",
    "USUAL_ORDER",
    "check_audible",
    "fit",
    "heard",
    "joined",
    "loudest",
    "resampled",
    "to_int16",
]

SILENCE = 10 ** (-60 / 20)  # −60 dBFS
_CANCELLED = 10 ** (-40 / 20)  # what lossy formats leave over when channels cancel each other

# Which channel is what in files of 3 to 8: left, right, centre, low frequencies (−), and at
# the sides or the back left, right, centre. RFC 9639 (FLAC, WAV), 9.1.3; Vorbis I, 4.3.9.
USUAL_ORDER = ("LRC", "LRlr", "LRClr", "LRC-lr", "LRC-clr", "LRC-lrlr")
OGG_ORDER = ("LCR", "LRlr", "LCRlr", "LCRlr-", "LCRlrc-", "LCRlrlr-")
# How much of each goes to the left and to the right: ITU-R BS.775-3, annex 4.
_HALF = 2**-0.5  # of the power
_GAINS = MappingProxyType(
    {
        "L": (1.0, 0.0),
        "R": (0.0, 1.0),
        "C": (_HALF, _HALF),
        "-": (0.0, 0.0),
        "l": (_HALF, 0.0),
        "r": (0.0, _HALF),
        "c": (0.5, 0.5),
    }
)


def fit(clip: Clip, sample_rate: int, channels: int) -> np.ndarray:
    """The sound of ``clip`` at ``sample_rate`` Hz with 1 or 2 channels: float32 [channels, n].

    One channel becomes two that are equal, two become their mean.
    """
    import soxr

    samples = clip.samples
    if channels == 1:
        samples = samples.mean(axis=0, keepdims=True)
    elif len(samples) > channels:
        samples = _in_stereo(samples.T, USUAL_ORDER).T
    if clip.sample_rate != sample_rate:
        samples = soxr.resample(samples.T, clip.sample_rate, sample_rate).T
    return np.ascontiguousarray(np.repeat(samples, channels // len(samples), axis=0))


def heard(clip: Clip, sample_rate: int, channels: int) -> np.ndarray:
    """What a model hears of somebody's own sound: as ``fit`` makes it.

    Raises ``UnreadableAudio`` where that is nothing.
    """
    check_audible(clip, channels)
    return fit(clip, sample_rate, channels)


def check_audible(clip: Clip, channels: int) -> None:
    """Raise ``UnreadableAudio`` for a clip that is silent, or is so with 1 of ``channels``."""
    if loudest(clip.samples) < SILENCE:
        end = clip.start + clip.duration
        raise UnreadableAudio(
            f"{clip.name} has no sound above −60 dBFS from {clip.start:.1f} to {end:.1f} s."
        )
    if channels == 1 and loudest(clip.samples.mean(axis=0)) < max(
        SILENCE, _CANCELLED * loudest(clip.samples)
    ):
        raise UnreadableAudio(
            f"{clip.name} can't be heard in mono, as it is needed here: its channels cancel each "
            "other, one being the other upside down. Invert one of them first, or leave it out."
        )


def loudest(samples: np.ndarray) -> float:
    """The highest of the samples, without its sign; 0 if there are none."""
    return float(max(samples.max(initial=0), -samples.min(initial=0)))


def resampled(
    pieces: Iterable[tuple[np.ndarray, int, tuple[str, ...]]], sample_rate: int
) -> Iterator[np.ndarray]:
    """Pieces [samples, channels] of one rate as pieces of another one, in mono or stereo.

    The whole may be gigabytes: no more than a piece of it is held. Each piece comes with its
    rate and with which channel is what, where there are more than two.
    """
    import soxr

    stream = None
    for samples, rate, order in pieces:
        mixed = _in_stereo(samples, order)
        if stream is None:
            stream = soxr.ResampleStream(rate, sample_rate, mixed.shape[1])
        yield stream.resample_chunk(mixed)
    if stream is not None:
        yield stream.resample_chunk(mixed[:0], last=True)


def joined(pieces: list[np.ndarray]) -> np.ndarray:
    """Pieces [samples, channels] as one [channels, samples]; empties the list meanwhile."""
    if not pieces:
        return np.empty((1, 0), np.float32)
    end = sum(map(len, pieces))
    whole = np.empty((pieces[0].shape[1], end), np.float32)
    while pieces:  # from the last one, and each is let go: nothing is held twice
        piece = pieces.pop()
        whole[:, end - len(piece) : end] = piece.T
        end -= len(piece)
    return whole


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples as int16, clipped at full scale; no normalisation."""
    scaled: np.ndarray = np.round(np.clip(samples, -1.0, 1.0) * 32767.0)
    return scaled.astype("<i2")


def _in_stereo(samples: np.ndarray, order: tuple[str, ...]) -> np.ndarray:
    """[samples, channels] with at most two of them; a side's gains add up to 1: nothing clips."""
    channels = samples.shape[1]
    if channels <= 2:
        return samples
    gains = np.array([_GAINS[place] for place in order[channels - 3]], np.float32)  # [channels, 2]
    stereo: np.ndarray = samples @ (gains / gains.sum(axis=0))
    return stereo

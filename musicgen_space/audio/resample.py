"""Converts sample rates and channels; surround is mixed to stereo.

soxr is imported where it is used, so that the page starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MappingProxyType

import numpy as np

from musicgen_space.clip import Clip
from musicgen_space.errors import UnreadableAudio

__all__ = [
    "DEFAULT_ORDER",
    "OGG_ORDER",
    "SILENCE",
    "check_audible",
    "concatenate",
    "convert",
    "convert_audible",
    "peak_level",
    "resample_blocks",
    "to_int16",
]

SILENCE = 10 ** (-60 / 20)  # −60 dBFS
_CANCELLED = 10 ** (-40 / 20)  # residue of lossy formats when channels cancel each other

# Channel layouts of files with 3 to 8 channels: left, right, centre, LFE (−), and surround
# left, right, centre. RFC 9639 (FLAC, WAV), 9.1.3; Vorbis I, 4.3.9.
DEFAULT_ORDER = ("LRC", "LRlr", "LRClr", "LRC-lr", "LRC-clr", "LRC-lrlr")
OGG_ORDER = ("LCR", "LRlr", "LCRlr", "LCRlr-", "LCRlrc-", "LCRlrlr-")
# Downmix gains to left and right: ITU-R BS.775-3, annex 4.
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


def convert(clip: Clip, sample_rate: int, channels: int) -> np.ndarray:
    """``clip`` at ``sample_rate`` Hz with 1 or 2 channels: float32 [channels, n].

    Mono is duplicated to stereo; stereo is averaged to mono.
    """
    import soxr

    samples = clip.samples
    if channels == 1:
        samples = samples.mean(axis=0, keepdims=True)
    elif len(samples) > channels:
        samples = _mix_to_stereo(samples.T, DEFAULT_ORDER).T
    if clip.sample_rate != sample_rate:
        samples = soxr.resample(samples.T, clip.sample_rate, sample_rate).T
    return np.ascontiguousarray(np.repeat(samples, channels // len(samples), axis=0))


def convert_audible(clip: Clip, sample_rate: int, channels: int) -> np.ndarray:
    """``convert`` for a model's input; raises ``UnreadableAudio`` if the result is silent."""
    check_audible(clip, channels)
    return convert(clip, sample_rate, channels)


def check_audible(clip: Clip, channels: int) -> None:
    """Raise ``UnreadableAudio`` for a clip that is silent, or is when mixed to mono."""
    if peak_level(clip.samples) < SILENCE:
        end = clip.start + clip.duration
        raise UnreadableAudio(
            f"{clip.name} has no sound above −60 dBFS from {clip.start:.1f} to {end:.1f} s."
        )
    if channels == 1 and peak_level(clip.samples.mean(axis=0)) < max(
        SILENCE, _CANCELLED * peak_level(clip.samples)
    ):
        raise UnreadableAudio(
            f"{clip.name} can't be heard in mono, as it is needed here: its channels cancel each "
            "other, one being the other upside down. Invert one of them first, or leave it out."
        )


def peak_level(samples: np.ndarray) -> float:
    """The highest absolute sample; 0 if there are none."""
    return float(max(samples.max(initial=0), -samples.min(initial=0)))


def resample_blocks(
    blocks: Iterable[tuple[np.ndarray, int, tuple[str, ...]]], sample_rate: int
) -> Iterator[np.ndarray]:
    """Resample a stream of blocks, mixed to mono or stereo: [samples, channels] each.

    Holds one block at a time. The input blocks are (samples, rate in Hz, channel layout).
    """
    import soxr

    stream = None
    for samples, rate, order in blocks:
        mixed = _mix_to_stereo(samples, order)
        if stream is None:
            stream = soxr.ResampleStream(rate, sample_rate, mixed.shape[1])
        yield stream.resample_chunk(mixed)
    if stream is not None:
        yield stream.resample_chunk(mixed[:0], last=True)


def concatenate(blocks: list[np.ndarray]) -> np.ndarray:
    """Blocks [samples, channels] as one [channels, samples]; consumes the list."""
    if not blocks:
        return np.empty((1, 0), np.float32)
    end = sum(map(len, blocks))
    whole = np.empty((blocks[0].shape[1], end), np.float32)
    while blocks:  # from the end, freeing each block as it is copied
        block = blocks.pop()
        whole[:, end - len(block) : end] = block.T
        end -= len(block)
    return whole


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples as int16, clipped at full scale; no normalisation.

    −1 is −32768, as in what reads them: samples of a file are the same when written again.
    """
    scaled: np.ndarray = np.clip(np.round(samples * 32768.0), -32768, 32767)
    return scaled.astype("<i2")


def _mix_to_stereo(samples: np.ndarray, order: tuple[str, ...]) -> np.ndarray:
    """[samples, channels] with at most two channels; gains sum to 1 per side, so nothing clips."""
    channels = samples.shape[1]
    if channels <= 2:
        return samples
    gains = np.array(
        [_GAINS[channel] for channel in order[channels - 3]], np.float32
    )  # [channels, 2]
    stereo: np.ndarray = samples @ (gains / gains.sum(axis=0))
    return stereo

"""Mastering of a take: trims the tail, fades in and out, normalises the loudness."""

from __future__ import annotations

import dataclasses

import numpy as np

from musicgen_space.audio.mastering.normalise import normalise
from musicgen_space.audio.mastering.tail import tail_start
from musicgen_space.take import Finish, Take

__all__ = ["apply_finish"]

_DECLICK = 0.02  # seconds of fade-out where the tail is cut off


def apply_finish(take: Take, finish: Finish) -> Take:
    """A finished copy of ``take``, its ``finish`` recorded; ``take`` itself if all is off.

    A loop is none any more: its ends are no longer alike.
    """
    if finish == Finish():
        return take
    samples, rate = take.samples, take.sample_rate
    if finish.trim:
        samples = _trimmed(samples, rate)
    samples = _faded(samples, round(finish.fade_in * rate), round(finish.fade_out * rate))
    limited = 0.0
    if finish.normalise:
        samples, limited = normalise(samples, rate)
    return dataclasses.replace(take, samples=samples, finish=finish, limited=limited, loop=None)


def _trimmed(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    end = tail_start(samples, sample_rate)
    if end == samples.shape[-1]:
        return samples
    return _faded(samples[:, :end], 0, round(_DECLICK * sample_rate))


def _faded(samples: np.ndarray, fade_in: int, fade_out: int) -> np.ndarray:
    """A copy with fades (in samples), shortened in proportion if the take is too short."""
    length = samples.shape[-1]
    if fade_in + fade_out > length:
        fade_in = round(length * fade_in / (fade_in + fade_out))
        fade_out = length - fade_in
    faded = samples.copy()
    faded[:, :fade_in] *= _rise(fade_in)
    faded[:, length - fade_out :] *= _rise(fade_out)[::-1]
    return faded


def _rise(length: int) -> np.ndarray:
    """A raised-cosine ramp from 0 to 1, whose slope is 0 at both ends."""
    phase = np.arange(length, dtype=np.float32) * np.float32(np.pi / max(length, 1))
    rise: np.ndarray = 0.5 - 0.5 * np.cos(phase)
    return rise

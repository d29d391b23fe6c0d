"""The finish of a take: its tail cut off, faded in and out, as loud as other music.

A finish makes a new take and leaves the one it is given as it is. Loudness is that of ITU-R
BS.1770-4, in LUFS, peaks are true peaks, in dBTP.

pyloudnorm is imported where it is used: it brings scipy, which takes more than a second.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest
from musicgen_space.mixing import USUAL_ORDER, fit, resampled
from musicgen_space.request import Limit, Take, checked_number
from musicgen_space.tail import tail_start

__all__ = [
    "FINISH_LIMITS",
    "LOUDNESS",
    "TRUE_PEAK",
    "Finish",
    "gains_to_match",
    "loudness",
    "true_peak",
]

FINISH_LIMITS: dict[str, Limit] = {
    "fade_in": Limit(0.0, 10.0, 0.0, 0.1, "seconds"),
    "fade_out": Limit(0.0, 10.0, 0.0, 0.1, "seconds"),
}
_SWITCHES = ("normalise", "trim")

# What streaming services play at, and the room that lossy formats need (AES TD1008, 2021;
# the figures of Spotify's "Loudness normalization").
LOUDNESS = -14.0  # LUFS
TRUE_PEAK = -1.0  # dBTP

_GATING_BLOCK = 0.4  # seconds: BS.1770-4, annex 1
_LOWEST_RATE = 8_000  # Hz; below 4,000 its filters do not exist
_OVERSAMPLING = 4  # BS.1770-4, annex 2
_DECLICK = 0.02  # seconds, where a tail was cut off


@dataclass(frozen=True, slots=True)
class Finish:
    """What is done to a take; raises ``InvalidRequest`` when a field is outside its limits.

    ``normalise`` brings it to ``LOUDNESS``, or as near as ``TRUE_PEAK`` lets it come: one gain
    for the whole take, without a limiter or a compressor, so that loud and quiet keep their
    distance. ``fade_in`` and ``fade_out`` are in seconds. ``trim`` cuts off a tail of silence
    or noise, half of the take at most.
    """

    normalise: bool = False
    fade_in: float = FINISH_LIMITS["fade_in"].default
    fade_out: float = FINISH_LIMITS["fade_out"].default
    trim: bool = False

    def __post_init__(self) -> None:
        for field in _SWITCHES:
            if not isinstance(getattr(self, field), bool):
                raise InvalidRequest(field, getattr(self, field), "must be true or false")
        for field, limit in FINISH_LIMITS.items():
            object.__setattr__(self, field, checked_number(field, getattr(self, field), limit))

    def settings(self) -> dict[str, Any]:
        """All fields as JSON knows them."""
        return dataclasses.asdict(self)

    def of(self, take: Take) -> Take:
        """``take`` with this finish, which it then tells; itself when everything is off."""
        if self == Finish():
            return take
        samples, rate = take.samples, take.sample_rate
        if self.trim:
            samples = _trimmed(samples, rate)
        samples = _faded(samples, round(self.fade_in * rate), round(self.fade_out * rate))
        if self.normalise:
            samples = samples * np.float32(_gain(samples, rate))
        return dataclasses.replace(take, samples=samples, finish=self.settings())


def loudness(samples: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of [channels, n] in LUFS; −inf for silence.

    What is shorter than a gating block is measured as one block. More than two channels
    are measured as the stereo mix in which they are heard.
    """
    import pyloudnorm

    if not samples.any():
        return -math.inf
    heard = samples
    if len(samples) > 2 or sample_rate < _LOWEST_RATE:
        rate = max(sample_rate, _LOWEST_RATE)
        heard = fit(Clip(samples, sample_rate), rate, min(len(samples), 2))
        sample_rate = rate
    block = min(_GATING_BLOCK, math.nextafter(heard.shape[-1] / sample_rate, 0))
    # "DeMan" are the standard's own filters at any rate; the default ones come near them.
    meter = pyloudnorm.Meter(sample_rate, filter_class="DeMan", block_size=block)
    return float(meter.integrated_loudness(heard.T))


def true_peak(samples: np.ndarray, sample_rate: int) -> float:
    """The highest peak of [channels, n], between samples too, in dBTP; −inf for silence."""
    peak = float(np.abs(samples).max(initial=0.0))
    for channel in samples.astype(np.float32, copy=False):
        seconds = (
            (channel[start : start + sample_rate, None], sample_rate, USUAL_ORDER)
            for start in range(0, len(channel), sample_rate)
        )
        for piece in resampled(seconds, _OVERSAMPLING * sample_rate):
            peak = max(peak, float(np.abs(piece).max(initial=0.0)))
    return 20 * math.log10(peak) if peak else -math.inf


def gains_to_match(levels: Iterable[float]) -> list[float]:
    """For each take the gain, at most 1, that makes it as loud as the quietest; silence: 1.

    ``levels`` are the takes' loudness in LUFS, −inf for silence.
    """
    measured = [*levels]
    quietest = min(filter(math.isfinite, measured), default=0.0)
    return [_ratio(quietest - level) if math.isfinite(level) else 1.0 for level in measured]


def _gain(samples: np.ndarray, sample_rate: int) -> float:
    """What normalises ``samples``; 1 for silence."""
    level = loudness(samples, sample_rate)
    if not math.isfinite(level):
        return 1.0
    return _ratio(min(LOUDNESS - level, TRUE_PEAK - true_peak(samples, sample_rate)))


def _ratio(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _trimmed(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    end = tail_start(samples, sample_rate)
    if end == samples.shape[-1]:
        return samples
    return _faded(samples[:, :end], 0, round(_DECLICK * sample_rate))


def _faded(samples: np.ndarray, fade_in: int, fade_out: int) -> np.ndarray:
    """A copy with fades of so many samples; when the take is too short, each gives its share."""
    length = samples.shape[-1]
    if fade_in + fade_out > length:
        fade_in = round(length * fade_in / (fade_in + fade_out))
        fade_out = length - fade_in
    faded = samples.copy()
    faded[:, :fade_in] *= _rise(fade_in)
    faded[:, length - fade_out :] *= _rise(fade_out)[::-1]
    return faded


def _rise(length: int) -> np.ndarray:
    """Gains from 0 to 1 along a raised cosine: it starts and ends level, so no bend is heard."""
    turn = np.arange(length, dtype=np.float32) * np.float32(np.pi / max(length, 1))
    rise: np.ndarray = 0.5 - 0.5 * np.cos(turn)
    return rise

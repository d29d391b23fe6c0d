"""The clip that a take goes on from: what of it the model hears, and how the take begins with it.

A clip of up to 25 s is heard whole, and decoded from its codes like the rest of the take. A
longer one stays as it is, but for a crossfade at its end into what the codec makes of that::

    clip   |————————————————————————————————|
    heard               |———————————————————|         (windows.context_seconds)
    take   |——————————— as given ——————————><|—— new ——▶
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from musicgen_space.audio.joint import FADE_SECONDS, crossfade
from musicgen_space.clip import Clip
from musicgen_space.engine.scheduler.events import Generated
from musicgen_space.engine.windows import context_seconds

__all__ = ["Beginning", "heard"]


def heard(clip: Clip, new: float) -> Clip:
    """What of ``clip`` the model hears before it makes ``new`` seconds; often all of it."""
    seconds = context_seconds(clip.duration, new)
    if seconds == clip.duration:
        return clip
    return clip.cut(clip.duration - seconds, clip.duration)


class Beginning:
    """Puts ``clip`` in place of the first ``context`` samples of a take, its end decoded.

    ``clip`` has the sample rate and channels of the pieces. It comes in chunks of a second, once
    there is something new: a clip alone is not a take.
    """

    def __init__(self, clip: Clip, context: int) -> None:
        fade = round(FADE_SECONDS * clip.sample_rate)
        untouched, end = clip.samples[:, :-fade], clip.samples[:, -fade:]
        self._given, self._decoded = _seconds(untouched, clip.sample_rate), _Joint(end, context)

    def push(self, piece: Generated) -> Iterator[Generated]:
        """What ``piece`` becomes."""
        if piece.seconds:
            for chunk in self._given:
                yield replace(piece, samples=np.repeat(chunk[None], len(piece.samples), axis=0))
        yield replace(piece, samples=self._decoded.push(piece.samples))


def _seconds(samples: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
    for start in range(0, samples.shape[-1], sample_rate):
        yield samples[:, start : start + sample_rate]


class _Joint:
    """Drops the first ``context`` samples of what is pushed, but for a crossfade out of ``end``."""

    def __init__(self, end: np.ndarray, context: int) -> None:
        self._end, self._context = end, context
        self._waiting: list[np.ndarray] = []

    def push(self, samples: np.ndarray) -> np.ndarray:
        """[takes, channels, n] → what follows the clip; n is 0 until the end of the context."""
        if not self._context:
            return samples
        self._waiting.append(samples)
        if sum(each.shape[-1] for each in self._waiting) < self._context:
            return samples[..., :0]
        whole = np.concatenate(self._waiting, axis=-1)
        decoded = whole[..., self._context - self._end.shape[-1] : self._context]
        faded = np.stack([crossfade(self._end, each) for each in decoded])
        joined = np.concatenate([faded, whole[..., self._context :]], axis=-1)
        self._context, self._waiting = 0, []
        return joined

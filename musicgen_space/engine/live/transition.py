"""Where another passage takes over, and how: on samples [channels, n] that sound together."""

from __future__ import annotations

import numpy as np

from musicgen_space.audio.bands import HOP_SECONDS, attacks, bands
from musicgen_space.audio.joint import crossfade

__all__ = ["BEAT_SECONDS", "SEAM_SECONDS", "arrive", "evolve"]

SEAM_SECONDS = 0.03  # between two that sound alike
BEAT_SECONDS = 0.5  # about: what an arrival needs of both, and looks for a beat in

_FIRST_ATTACK = 0.5  # of the strongest: what counts as the beginning
_RELEASE_SECONDS = 0.15  # in which the old one fades out after the beat
_RISE_SECONDS = 0.01  # of a beginning that has no lead


def evolve(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """From ``old`` to ``new``, which are aligned and nearly alike at first → from old's start."""
    seam = old.shape[-1]
    return np.concatenate([crossfade(old, new[:, :seam]), new[:, seam:]], axis=-1)


def arrive(old: np.ndarray, new: np.ndarray, sample_rate: int) -> tuple[np.ndarray, int]:
    """``old`` fades out on its next beat, where ``new`` begins with its first attack.

    → what is heard from old's start on, all of ``new`` included, and where in it the first
    sample of ``new`` is or would be. What ``new`` has before its attack fades in meanwhile::

        old  ───────────────╲__
        new          ___╱───|──────────
                            beat
    """
    beat = _strongest_attack(old, sample_rate)
    first = _first_attack(new, sample_rate)
    lead = min(beat, first)
    release = min(round(_RELEASE_SECONDS * sample_rate), old.shape[-1] - beat)
    start = beat - first  # of new in old's time
    joined = np.zeros((len(old), start + new.shape[-1]), np.float32)
    fading = _falling(max(1, lead)), _falling(max(1, release))
    joined[:, :beat] = old[:, :beat]
    joined[:, beat - lead : beat] *= fading[0][:lead] * 0.5 + 0.5
    joined[:, beat : beat + release] = old[:, beat : beat + release] * (fading[1][:release] * 0.5)
    entering = new[:, first - lead :].copy()
    rise = max(min(lead, entering.shape[-1]), round(_RISE_SECONDS * sample_rate))
    entering[:, :rise] *= _falling(rise)[::-1]
    joined[:, beat - lead :] += entering
    return np.clip(joined, -1, 1), start


def _falling(length: int) -> np.ndarray:
    """A gain from 1 to 0."""
    return np.asarray(np.cos((np.arange(length) + 0.5) * (np.pi / 2 / length)), np.float32)


def _strongest_attack(samples: np.ndarray, sample_rate: int) -> int:
    """The sample just before it."""
    return _before(int(np.argmax(attacks(bands(samples, sample_rate)))), samples, sample_rate)


def _first_attack(samples: np.ndarray, sample_rate: int) -> int:
    """The sample just before the first attack that is half as strong as any."""
    head = samples[:, : round(BEAT_SECONDS * sample_rate)]
    strength = attacks(bands(head, sample_rate))
    strong = np.flatnonzero(strength >= _FIRST_ATTACK * max(strength.max(), 1e-9))
    return _before(int(strong[0]) if strong.size else 0, samples, sample_rate)


def _before(frame: int, samples: np.ndarray, sample_rate: int) -> int:
    sample = round((frame - 1) * HOP_SECONDS * sample_rate)
    return int(np.clip(sample, 0, samples.shape[-1] - 1))

"""The joint of a loop, where its end meets its start: how it is made, and how well it fits.

::

    take  ──────[s────────────────────────────────────e)──────
    loop         s ──────────────────────────▶╲ e − f … e fades out
                                              ╱ s − f … s fades in     then s again

What comes before the start is heard at the end, and the start itself stays as it is, with its
stroke of a drum. Where a take has less before the start than after the end, that fades into the
start instead.
"""

from __future__ import annotations

import numpy as np

from musicgen_space.audio.loops.spectra import hop_of, log_bands, mono

__all__ = ["crossfaded", "fitness"]

_SPANS = (0.05, 0.5)  # seconds: a click or a jump of the level, a change of sound
_CONTEXT = 1.0  # seconds of the loop to either side of its joint


def crossfaded(samples: np.ndarray, start: int, end: int, fade: int) -> np.ndarray:
    """The loop from ``start`` to ``end`` of [channels, n], its joint ``fade`` samples long.

    A copy, [channels, end − start], never above the highest of what is mixed. The fade is as
    much shorter as there is less before the start and after the end.
    """
    loop = samples[:, start:end].copy()
    before, after = min(fade, start), min(fade, samples.shape[1] - end)
    if before >= after:
        first = loop.shape[1] - min(before, loop.shape[1])
        loop[:, first:] = _mixed(loop[:, first:], samples[:, start - loop.shape[1] + first : start])
    else:
        last = min(after, loop.shape[1])
        loop[:, :last] = _mixed(samples[:, end : end + last], loop[:, :last])
    return loop


def _mixed(leaving: np.ndarray, coming: np.ndarray) -> np.ndarray:
    """One fades out while the other fades in, at a steady power however alike they are."""
    rise = np.sin(np.linspace(0, np.pi / 2, leaving.shape[1], endpoint=False)) ** 2
    fall = 1 - rise
    mean = leaving * fall + coming * rise
    alike = np.clip(_likeness(leaving, coming), 0, 1)
    steady = mean / np.sqrt(fall**2 + rise**2 + 2 * alike * rise * fall)
    highest = max(np.abs(leaving).max(initial=0), np.abs(coming).max(initial=0))
    mixed: np.ndarray = steady if np.abs(steady).max(initial=0) <= highest else mean
    return mixed


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of two stretches of sound, −1 … 1."""
    energy = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    return float((one * other).sum()) / energy if energy else 1.0


def fitness(
    samples: np.ndarray, sample_rate: int, loop: np.ndarray, ends: tuple[int, int]
) -> float:
    """How well the joint of ``loop`` fits, 0 … 1; ``ends`` is where it was cut from ``samples``.

    The change of the spectrum at the joint is compared with those of the take itself at both
    ends, where a chord may change and a drum be struck. What is beyond the larger of them is set
    against m, the take's median change: m / (m + beyond). Of two spans the worse counts.
    """
    context = min(round(_CONTEXT * sample_rate), loop.shape[1])
    seam = np.concatenate([loop[:, -context:], loop[:, :context]], axis=1)
    take = log_bands(mono(samples), sample_rate)
    joint = log_bands(mono(seam), sample_rate)
    hop = hop_of(sample_rate)
    fits = [
        _fit(_changes(take, width), _changes(joint, width), [end // hop for end in ends])
        for width in (round(span * sample_rate / hop) for span in _SPANS)
        if len(joint) > 4 * width
    ]
    return min(fits, default=1.0)


def _fit(take: np.ndarray, joint: np.ndarray, ends: list[int]) -> float:
    """By the changes of the take and around the joint, which is in the middle of its own."""
    middle = len(joint) // 2
    there = max(_around(take, end) for end in ends)
    beyond = max(0.0, _around(joint, middle) - there)
    inner = take[take > 0]
    median = float(np.median(inner)) if len(inner) else 0.0
    return median / (median + beyond) if beyond else 1.0


def _around(changes: np.ndarray, frame: int) -> float:
    """The largest change within 50 ms."""
    return float(changes[max(0, frame - 5) : frame + 6].max(initial=0.0))


def _changes(bands: np.ndarray, width: int) -> np.ndarray:
    """At each frame, how far the means of ``width`` frames before and after are apart: dB.

    0 where there are fewer frames than that.
    """
    sums = np.cumsum(np.pad(bands, ((1, 0), (0, 0))), axis=0, dtype=np.float64)
    means = (sums[width:] - sums[:-width]) / width  # of the frames from each one on
    changes = np.zeros(len(bands) + 1)
    inner = np.abs(means[width:] - means[:-width]).mean(axis=1)
    changes[width : width + len(inner)] = inner
    return changes

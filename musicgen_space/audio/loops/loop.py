"""Makes a take loop: finds the stretch whose ends fit best, and joins them."""

from __future__ import annotations

import dataclasses

import numpy as np

from musicgen_space.audio.loops.beats import Pulse, find_pulse
from musicgen_space.audio.loops.ends import Ends, aligned, bar_ends, beats_of_bar, free_ends
from musicgen_space.audio.loops.joint import crossfaded, fitness
from musicgen_space.audio.loops.key import find_key
from musicgen_space.audio.loops.spectra import hop_of, log_bands, mono
from musicgen_space.errors import InvalidRequest
from musicgen_space.take import Loop, Take

__all__ = ["find_loop", "loop_take", "make_loop"]

_SHORTEST = 1.0  # seconds of a take
_FADE, _LONG_FADE = 0.03, 0.25  # seconds: on a beat; where nothing says when to change
_REACH = 0.025  # seconds that an end is moved to fit
_COMPARED = 0.05  # seconds to either side, for that


def find_loop(samples: np.ndarray, sample_rate: int) -> Loop:
    """The stretch of [channels, n] that loops best: whole bars where there is a steady beat.

    Raises ``InvalidRequest`` for less than a second of sound.
    """
    seconds = samples.shape[1] / sample_rate
    if seconds < _SHORTEST:
        raise InvalidRequest("loop", f"{seconds:.2f} seconds", "needs a take of 1 second or more")
    sound, hop = mono(samples), hop_of(sample_rate)
    bands = log_bands(sound, sample_rate)
    pulse = find_pulse(bands, sample_rate / hop)
    ends, beats = _ends(bands, pulse, sample_rate / hop)
    start = ends.start * hop
    end = aligned(
        sound, start, ends.end * hop, round(_REACH * sample_rate), round(_COMPARED * sample_rate)
    )
    found = Loop(
        start=start,
        end=end,
        crossfade=_FADE if ends.bars else _LONG_FADE,
        bars=ends.bars,
        bpm=ends.bars * beats * 60 * sample_rate / (end - start) if ends.bars else None,
        key=find_key(sound, sample_rate),
        quality=0.0,
    )
    quality = fitness(samples, sample_rate, make_loop(samples, sample_rate, found), (start, end))
    return dataclasses.replace(found, quality=quality)


def make_loop(samples: np.ndarray, sample_rate: int, loop: Loop) -> np.ndarray:
    """The samples of ``loop`` in [channels, n], which play seamlessly one after the other."""
    fade = round(loop.crossfade * sample_rate)
    return crossfaded(samples, loop.start, loop.end, fade).astype(np.float32, copy=False)


def loop_take(take: Take) -> Take:
    """A copy of ``take`` that loops, its ``loop`` recorded; one that loops already, itself."""
    if take.loop is not None:
        return take
    loop = find_loop(take.samples, take.sample_rate)
    samples = make_loop(take.samples, take.sample_rate, loop)
    return dataclasses.replace(take, samples=samples, loop=loop)


def _ends(bands: np.ndarray, pulse: Pulse | None, frame_rate: float) -> tuple[Ends, int]:
    """The ends, and the beats of a bar."""
    if pulse is not None:
        beats = beats_of_bar(bands, pulse)
        ends = bar_ends(bands, pulse, beats, frame_rate)
        if ends is not None:
            return ends, beats
    return free_ends(bands, frame_rate), 0

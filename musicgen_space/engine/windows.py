"""Takes longer than MusicGen's 30 s context are made in overlapping windows.

As in AudioCraft (audiocraft/models/musicgen.py, ``_generate_tokens``), each window starts
18 s after the one before; the 12 s that they share are its prompt::

    |—— known ——|———————— predicted ————————|
                       |————— known ————————|———— predicted ————|

Of a clip that is to be continued the first window hears up to 25 s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["STRIDE_SECONDS", "WINDOW_SECONDS", "Window", "context_seconds", "windows"]

WINDOW_SECONDS = 30
STRIDE_SECONDS = 18
_MAX_CONTEXT_SECONDS = 25
_TOLERANCE = 0.01  # seconds: a clip is cut to whole samples


@dataclass(frozen=True, slots=True)
class Window:
    """Frames ``start`` … ``end`` − 1 of a take, of which the first ``known`` are given."""

    start: int
    known: int
    end: int


def windows(known: int, total: int, frame_rate: int) -> Iterator[Window]:
    """The windows of a take of ``total`` frames, of which the first ``known`` are given."""
    length, stride = WINDOW_SECONDS * frame_rate, STRIDE_SECONDS * frame_rate
    start = 0
    while start + known < total:
        end = min(total, start + length)
        yield Window(start, known, end)
        start, known = start + stride, end - start - stride


def context_seconds(given: float, new: float) -> float:
    """How many seconds, at the end of a clip of ``given`` ones, the model hears.

    All up to 25. Of a longer clip whole seconds: as many as fit into one window with ``new``
    seconds of music, but no fewer than two windows share.
    """
    if given <= _MAX_CONTEXT_SECONDS + _TOLERANCE:
        return given
    shared = WINDOW_SECONDS - STRIDE_SECONDS
    return min(_MAX_CONTEXT_SECONDS, max(shared, math.floor(WINDOW_SECONDS - new)))

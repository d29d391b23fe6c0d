"""Takes longer than MusicGen's 30 s context are made in overlapping windows.

As in AudioCraft (audiocraft/models/musicgen.py, ``_generate_tokens``), each window starts
18 s after the one before; the 12 s that they share are its prompt::

    |—— known ——|———————— predicted ————————|
                       |————— known ————————|———— predicted ————|
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["STRIDE_SECONDS", "WINDOW_SECONDS", "Window", "windows"]

WINDOW_SECONDS = 30
STRIDE_SECONDS = 18


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

"""Whether a sound is a piece of the training again.

Two searches. By harmony: a sound's chroma against that of every training piece, which needs
no rendering, as the notes are known. By codes: how many of a sound's runs of codes occur in a
training piece. Neither says much by itself, since two pieces of one style share a lot; what
counts is whether takes come nearer to the training than pieces do that no training saw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from training.measure.hearing import CHROMA_RATE
from training.music.compose import DRUMS, Piece

__all__ = ["nearest", "ngram_overlap", "piece_chroma"]

_AT_ONCE = 500  # training pieces


def piece_chroma(piece: Piece, seconds: float) -> np.ndarray:
    """What ``hearing.chroma`` would hear of its notes: [12, frames]."""
    frames = round(seconds * CHROMA_RATE)
    result = np.zeros((12, frames), np.float32)
    for note in piece.events:
        if note.channel != DRUMS:
            first = round(note.start * CHROMA_RATE)
            result[note.key % 12, first : max(first + 1, round(note.end * CHROMA_RATE))] += (
                note.velocity / 127
            )
    return result


def nearest(chroma: np.ndarray, training: np.ndarray) -> tuple[int, int, float]:
    """The place in ``training`` [N, 12, frames] most like ``chroma`` [12, fewer frames].

    → index, first frame, and their correlation over all pitch classes and frames (Pearson).
    """
    template = torch.from_numpy(chroma - chroma.mean()).float()
    template /= template.norm().clamp_min(1e-9)
    ones = torch.full((1, *chroma.shape), 1 / chroma.size)
    best = (0, 0, -1.0)
    for start in range(0, len(training), _AT_ONCE):
        pieces = torch.from_numpy(training[start : start + _AT_ONCE]).float()
        mean = functional.conv1d(pieces, ones)[:, 0]
        power = functional.conv1d(pieces.square(), ones)[:, 0] - mean.square()
        deviation = (power.clamp_min(1e-12) * chroma.size).sqrt()
        likeness = functional.conv1d(pieces, template[None])[:, 0] / deviation
        index, frame = divmod(int(likeness.argmax()), likeness.shape[1])
        if likeness.max() > best[2]:
            best = start + index, frame, float(likeness.max())
    return best


def ngram_overlap(codes: np.ndarray, others: Sequence[np.ndarray], length: int) -> float:
    """The share of runs of ``length`` codes in ``codes`` [T] that occur in ``others`` [T′], too."""
    known = {run for other in others for run in _runs(other, length)}
    runs = _runs(codes, length)
    return sum(run in known for run in runs) / max(1, len(runs))


def _runs(codes: np.ndarray, length: int) -> list[bytes]:
    codes = np.ascontiguousarray(codes, np.int32)
    return [codes[at : at + length].tobytes() for at in range(len(codes) - length + 1)]

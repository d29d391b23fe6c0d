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


def nearest(chromas: Sequence[np.ndarray], training: np.ndarray) -> list[tuple[int, int, float]]:
    """The place in ``training`` [N, 12, frames] most like each of ``chromas`` [12, fewer frames].

    → index, first frame, and their correlation over all pitch classes and frames (Pearson). The
    chromas must be of one length.
    """
    templates = torch.from_numpy(np.stack(chromas)).float()  # [sounds, 12, T]
    templates -= templates.mean(dim=(1, 2), keepdim=True)
    templates /= templates.flatten(1).norm(dim=1).clamp_min(1e-9)[:, None, None]
    size = templates[0].numel()
    ones = torch.full((1, *templates.shape[1:]), 1 / size)
    best = [(0, 0, -1.0)] * len(templates)
    for start in range(0, len(training), _AT_ONCE):
        pieces = torch.from_numpy(training[start : start + _AT_ONCE]).float()
        mean, power = functional.conv1d(pieces, ones), functional.conv1d(pieces.square(), ones)
        deviation = ((power - mean.square()).clamp_min(1e-12) * size).sqrt()
        likeness = functional.conv1d(pieces, templates) / deviation  # [pieces, sounds, places]
        for sound, values in enumerate(likeness.unbind(dim=1)):
            index, frame = divmod(int(values.argmax()), values.shape[1])
            found = (start + index, frame, float(values[index, frame]))
            best[sound] = max(best[sound], found, key=lambda place: place[2])
    return best


def ngram_overlap(codes: np.ndarray, others: Sequence[np.ndarray], length: int) -> float:
    """The share of runs of ``length`` codes in ``codes`` [T] that occur in ``others`` [T′], too."""
    known = {run for other in others for run in _runs(other, length)}
    runs = _runs(codes, length)
    return sum(run in known for run in runs) / max(1, len(runs))


def _runs(codes: np.ndarray, length: int) -> list[bytes]:
    codes = np.ascontiguousarray(codes, np.int32)
    return [codes[at : at + length].tobytes() for at in range(len(codes) - length + 1)]

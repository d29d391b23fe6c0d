"""Whether a copy is found, and only a copy."""

from __future__ import annotations

import numpy as np
import pytest

from training.music.compose import compose

pytest.importorskip("librosa", reason="requirements-training.txt is not installed")

from training.measure.copying import nearest, ngram_overlap, piece_chroma


def test_runs_that_occur_elsewhere() -> None:
    codes = np.array([1, 2, 3, 4, 5, 6])
    assert ngram_overlap(codes, [np.array([9, 1, 2, 3, 9]), np.array([4, 5, 6])], 3) == 0.5
    assert ngram_overlap(codes, [codes], 3) == 1
    assert ngram_overlap(codes, [codes[::-1]], 3) == 0
    assert ngram_overlap(codes[:2], [codes], 3) == 0


def test_a_stretch_of_a_piece_is_found_where_it_was() -> None:
    training = np.stack([piece_chroma(compose(seed), 30) for seed in range(64, 84)])
    noise = np.random.default_rng(0).normal(0, 0.2, (12, 90))
    unseen = piece_chroma(compose(3), 9)
    copy, other = nearest([3 * training[7][:, 120:210] + 1 + noise, unseen], training)
    index, frame, likeness = copy
    assert (index, frame) == (7, 120)
    assert likeness > 0.9
    assert other[2] < likeness


def test_chroma_of_notes_leaves_drums_out() -> None:
    piece = compose(3)
    assert piece.has_drums
    drums = [note for note in piece.events if note.channel == 9]
    silent = piece_chroma(piece, 30)
    assert silent.shape == (12, 300)
    assert len(drums) > 0
    root = silent.sum(axis=1).argsort()[-5:]
    assert piece.root in root

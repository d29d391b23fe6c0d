from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.engine.delay import DelayPattern

S = 9


def test_the_pattern_of_the_docstring() -> None:
    pattern = DelayPattern(codebooks=4, frames=3)
    columns = pattern.blank(S)
    for column in range(1, pattern.steps + 1):
        for k in range(4)[pattern.spoken(column)]:
            columns[k, column] = column - 1 - k
    assert columns.tolist() == [
        [S, 0, 1, 2, S, S, S],
        [S, S, 0, 1, 2, S, S],
        [S, S, S, 0, 1, 2, S],
        [S, S, S, S, 0, 1, 2],
    ]


@given(st.integers(1, 8), st.integers(1, 60))
def test_every_frame_can_be_read_back_as_soon_as_it_is_done(codebooks: int, frames: int) -> None:
    pattern = DelayPattern(codebooks, frames)
    columns = pattern.blank(S)
    done = 0
    for column in range(1, pattern.steps + 1):
        spoken = pattern.spoken(column)
        columns[spoken, column] = column - 1 - torch.arange(codebooks)[spoken]
        assert pattern.frames_done(column) in (done, done + 1)
        done = pattern.frames_done(column)
        assert torch.equal(
            pattern.frames_of(columns, 0, done), torch.arange(done).expand(codebooks, done)
        )
    assert done == frames

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.engine.delay import UNKNOWN, DelayPattern

S = 9
MONO, STEREO = (0, 1, 2, 3), (0, 0, 1, 1, 2, 2, 3, 3)


def played(pattern: DelayPattern, known: int = 0) -> torch.Tensor:
    """The delayed sequence of one take in which each code is the number of its frame."""
    codebooks = len(pattern.delays)
    sequence = pattern.build_sequence(torch.arange(known).expand(1, codebooks, known), S)
    for step in range(pattern.steps + 1):
        frames = step - 1 - torch.tensor(pattern.delays)
        current = sequence[..., step]
        sequence[..., step] = torch.where(current == UNKNOWN, frames, current)
    return sequence


def test_the_pattern_of_the_docstring() -> None:
    assert played(DelayPattern(MONO, frames=3))[0].tolist() == [
        [S, 0, 1, 2, S, S, S],
        [S, S, 0, 1, 2, S, S],
        [S, S, S, 0, 1, 2, S],
        [S, S, S, S, 0, 1, 2],
    ]


def test_the_channels_of_stereo_run_side_by_side() -> None:
    rows = played(DelayPattern(STEREO, frames=3))[0]
    assert torch.equal(rows[::2], rows[1::2])
    assert torch.equal(rows[::2], played(DelayPattern(MONO, frames=3))[0])


@given(st.sampled_from([MONO, STEREO]), st.integers(1, 60), st.data())
def test_what_is_known_is_kept_and_nothing_unknown_is_given(
    delays: tuple[int, ...], frames: int, data: st.DataObject
) -> None:
    known = data.draw(st.integers(0, frames))
    pattern = DelayPattern(delays, frames)
    sequence = pattern.build_sequence(torch.arange(known).expand(1, len(delays), known), S)
    assert not (sequence[..., : known + 1] == UNKNOWN).any()
    assert int((sequence == UNKNOWN).sum()) == len(delays) * (frames - known)
    assert torch.equal(
        pattern.revert_sequence(played(pattern, known), 0, frames),
        torch.arange(frames).expand(1, len(delays), frames),
    )


@given(st.sampled_from([MONO, STEREO, (0,)]), st.integers(1, 60))
def test_every_frame_can_be_read_back_as_soon_as_it_is_done(
    delays: tuple[int, ...], frames: int
) -> None:
    pattern = DelayPattern(delays, frames)
    sequence = played(pattern)
    done = 0
    for step in range(1, pattern.steps + 1):
        assert pattern.complete_frames(step) in (done, done + 1)
        done = pattern.complete_frames(step)
        so_far = sequence[..., : step + 1]
        assert torch.equal(
            pattern.revert_sequence(so_far, 0, done),
            torch.arange(done).expand(1, len(delays), done),
        )
    assert done == frames

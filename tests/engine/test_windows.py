from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.engine.windows import Window, context_seconds, windows


def test_thirty_seconds_are_one_window() -> None:
    assert list(windows(0, 1500, 50)) == [Window(0, 0, 1500)]


def test_longer_takes_move_on_by_eighteen_seconds_and_remember_twelve() -> None:
    assert list(windows(0, 3300, 50)) == [
        Window(0, 0, 1500),
        Window(900, 600, 2400),
        Window(1800, 600, 3300),
    ]


@given(st.integers(0, 1250), st.integers(1, 15000))
def test_every_frame_is_predicted_once(known: int, new: int) -> None:
    there = known
    for window in windows(known, known + new, 50):
        assert window.start + window.known == there
        assert window.end > there
        assert window.end - window.start <= 1500
        there = window.end
    assert there == known + new


@pytest.mark.parametrize(
    ("given", "new", "heard"),
    [
        (0, 10, 0),
        (25, 300, 25),  # as in transformers
        (25.009, 300, 25.009),  # a clip is cut to whole samples
        (60, 1, 25),
        (60, 10, 20),  # all in one window
        (60, 11.5, 18),
        (60, 18, 12),
        (300, 60, 12),
    ],
)
def test_the_model_hears_as_much_of_a_clip_as_fits_beside_what_is_new(
    given: float, new: float, heard: float
) -> None:
    assert context_seconds(given, new) == heard

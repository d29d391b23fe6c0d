from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest
from musicgen_space.request import (
    LIMITS,
    MAX_PROMPT_CHARACTERS,
    MusicRequest,
    draw_seed,
    upgraded,
)


def test_defaults_are_the_documented_ones() -> None:
    request = MusicRequest("jazz")
    assert (request.duration, request.seed) == (10.0, 42)
    assert (request.top_k, request.top_p) == (250, 0.0)
    assert (request.temperature, request.guidance_scale) == (1.0, 3.0)


@pytest.mark.parametrize(
    "prompt", ["", "   ", "\n\t", "\u200b \u2060\ufeff", None, 7, b"jazz", ["jazz"]]
)
def test_a_prompt_must_say_something(prompt: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^prompt must"):
        MusicRequest(prompt)


@pytest.mark.parametrize("prompt", ["ja\x00zz", "ja\x7fzz", "\x1b[31mred", "lone \ud800 surrogate"])
def test_control_characters_in_a_prompt_are_refused_and_not_printed(prompt: str) -> None:
    with pytest.raises(InvalidRequest, match="control characters") as caught:
        MusicRequest(prompt)
    assert str(caught.value).isprintable()


def test_a_prompt_may_have_a_thousand_characters_and_no_more() -> None:
    assert len(MusicRequest("a" * MAX_PROMPT_CHARACTERS).prompt) == 1000
    with pytest.raises(InvalidRequest, match="at most 1000 characters, got '1001 characters'"):
        MusicRequest("a" * 1001)


def test_line_breaks_become_spaces() -> None:
    assert MusicRequest("  slow\n\tjazz  ").prompt == "slow jazz"


@pytest.mark.parametrize("field", LIMITS)
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, "10", None, True, [1], 10**400, -(10**400), 1j]
)
def test_what_is_no_number_within_the_limit_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        MusicRequest("jazz", **{field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field} must be")
    assert str(LIMITS[field].maximum).rstrip("0").rstrip(".") in str(caught.value)


@given(st.sampled_from(sorted(LIMITS)), st.floats(allow_nan=True, allow_infinity=True))
def test_numbers_are_accepted_exactly_within_their_limits(field: str, value: float) -> None:
    limit = LIMITS[field]
    fits = limit.minimum <= value <= limit.maximum and (not limit.whole or value == int(value))
    if fits:
        assert getattr(MusicRequest("jazz", **{field: value}), field) == value
    else:
        with pytest.raises(InvalidRequest):
            MusicRequest("jazz", **{field: value})


@pytest.mark.parametrize("field", LIMITS)
def test_both_ends_of_a_limit_are_inside(field: str) -> None:
    for value in (LIMITS[field].minimum, LIMITS[field].maximum):
        assert getattr(MusicRequest("jazz", **{field: value}), field) == value


@given(st.text(max_size=1100))
def test_any_text_is_either_a_clean_prompt_or_a_clear_error(text: str) -> None:
    try:
        prompt = MusicRequest(text).prompt
    except InvalidRequest as error:
        fields = {error.field}
    else:
        fields = {"prompt"}
        assert 1 <= len(prompt) <= MAX_PROMPT_CHARACTERS
        assert prompt == " ".join(prompt.split())
    assert fields == {"prompt"}


def test_whole_numbers_may_come_as_floats() -> None:
    assert MusicRequest("jazz", seed=7.0).seed == 7
    with pytest.raises(InvalidRequest, match=r"seed must be a whole number from -1 to 9999"):
        MusicRequest("jazz", seed=7.5)


def test_minus_one_draws_a_seed_and_zero_is_a_seed() -> None:
    drawn = {MusicRequest("jazz", seed=-1).with_seed_drawn().seed for _ in range(50)}
    assert len(drawn) > 10
    assert all(0 <= seed <= 9999 for seed in drawn)
    assert MusicRequest("jazz", seed=0).with_seed_drawn().seed == 0


def test_another_seed_is_another_one() -> None:
    assert {draw_seed(other_than=5) for _ in range(200)} <= {*range(10_000)} - {5}
    assert draw_seed(other_than="5") in range(10_000)


@pytest.mark.parametrize(
    ("old", "length"),
    [
        ({"duration": 10.0, "extend_to": 60.0}, 60.0),
        ({"duration": 10.0, "extend_to": 30.0}, 10.0),
        ({"extend_to": 300}, 300),
        ({"duration": 60.0}, 60.0),
    ],
)
def test_settings_from_when_there_were_two_lengths_have_the_one_they_meant(
    old: dict[str, Any], length: float
) -> None:
    assert upgraded({"prompt": "jazz", **old}) == {"prompt": "jazz", "duration": length}


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError):
        MusicRequest("jazz", tempo=120)  # type: ignore[call-arg]


def clip(seconds: float) -> Clip:
    return Clip(np.ones((1, round(seconds * 100)), np.float32), 100)


def test_five_minutes_can_be_continued_and_no_more() -> None:
    request = MusicRequest("jazz", duration=60, continue_from=clip(300))
    assert (request.given_seconds, request.total_seconds) == (300, 360)
    with pytest.raises(InvalidRequest, match=r"^continue_from must last 0\.5 to 300 seconds, got"):
        MusicRequest("jazz", continue_from=clip(300.5))


def test_a_clip_and_what_follows_it_last_six_minutes_at_most() -> None:
    words = "^duration must be at most 110 seconds after a clip of 250, got 110.5"
    with pytest.raises(InvalidRequest, match=words):
        MusicRequest("jazz", duration=110.5, continue_from=clip(250))

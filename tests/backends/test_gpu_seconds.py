"""How much GPU time is asked for: enough for the take, as little as that, and never absurd."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.backends.zerogpu.gpu_seconds import LEAST, MOST, GpuSeconds, Work
from musicgen_space.clip import Clip
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.request import LIMITS, MusicRequest

SMALL = DecoderConfig(1024, 16, 24, 4096, 4, 2048, 768)
LARGE = DecoderConfig(2048, 32, 48, 8192, 4, 2048, 768)
RATE = 50

lengths = st.floats(LIMITS["duration"].minimum, LIMITS["duration"].maximum)
paces = st.floats(0.001, 100)  # seconds of time for one of music
usual_paces = st.floats(0.001, 3)


@st.composite
def requests(draw: st.DrawFn) -> MusicRequest:
    clip = Clip(np.zeros((1, 100 * draw(st.integers(50, 2500))), np.float32), 10_000)
    return MusicRequest(
        "jazz",
        duration=draw(lengths),
        variations=draw(st.integers(1, 4)),
        guidance_scale=draw(st.sampled_from([1.0, 3.0])),
        blend_prompt=draw(st.sampled_from(["", "rock"])),
        continue_from=draw(st.sampled_from([None, clip])),
    )


def work(request: MusicRequest, config: DecoderConfig = SMALL) -> Work:
    return Work.of(request, "model", config, RATE)


@given(requests(), lengths, paces)
def test_longer_takes_ask_for_as_much_or_more(
    request: MusicRequest, length: float, pace: float
) -> None:
    seconds = GpuSeconds([SMALL])
    seconds.learn(work(request), request.duration, pace * request.duration)
    shorter, longer = sorted([request.duration, length])
    asked = [
        seconds.ask(work(replace(request, duration=duration))) for duration in (shorter, longer)
    ]
    assert asked == sorted(asked)


@given(requests(), paces)
def test_what_is_asked_for_is_within_limits(request: MusicRequest, pace: float) -> None:
    seconds = GpuSeconds([SMALL, LARGE])
    assert LEAST <= seconds.ask(work(request)) <= MOST
    seconds.learn(work(request), request.duration, pace * request.duration)
    assert LEAST <= seconds.ask(work(request)) <= MOST


@given(requests(), usual_paces)
def test_a_take_like_the_one_before_is_given_the_time_that_that_took(
    request: MusicRequest, pace: float
) -> None:
    seconds = GpuSeconds([SMALL])
    taken = pace * request.duration
    seconds.learn(work(request), request.duration, taken)
    if work(request).steps >= RATE:
        assert seconds.ask(work(request)) >= min(MOST, taken)


@given(requests())
def test_more_at_once_and_larger_models_ask_for_as_much_or_more(request: MusicRequest) -> None:
    seconds = GpuSeconds([SMALL, LARGE])
    least = seconds.ask(work(replace(request, variations=1, guidance_scale=1.0, blend_prompt="")))
    assert least <= seconds.ask(work(request)) <= seconds.ask(work(request, LARGE))


def test_it_learns_from_slow_and_from_fast_takes_but_not_from_a_moment() -> None:
    request = MusicRequest("jazz", duration=30)
    seconds = GpuSeconds([SMALL])
    guessed = seconds.ask(work(request))
    seconds.learn(work(request), 0.1, 60.0)
    assert seconds.ask(work(request)) == guessed
    for _ in range(8):
        seconds.learn(work(request), 30.0, 6.0)
    assert seconds.ask(work(request)) < guessed
    seconds.learn(work(request), 15.0, 40.0)  # stopped half way
    assert seconds.ask(work(request)) > 80


@given(requests())
def test_a_take_that_overran_asks_for_more_but_not_more_and_more(request: MusicRequest) -> None:
    seconds = GpuSeconds([SMALL])
    asked = [seconds.ask(work(request))]
    for _ in range(5):
        seconds.overran(work(request))
        asked.append(seconds.ask(work(request)))
    assert asked[1] >= min(MOST, 2 * asked[0]) or asked[1] == asked[-1]
    assert asked == sorted(asked)
    assert asked[-1] <= 5 * asked[0]


def test_what_another_model_takes_says_nothing() -> None:
    small = work(MusicRequest("jazz"))
    other = replace(small, model="other")
    seconds = GpuSeconds([SMALL])
    before = seconds.ask(other)
    seconds.learn(small, 10.0, 500.0)
    assert seconds.ask(other) == before


def test_an_ordinary_take_fits_an_anonymous_visitors_two_minutes() -> None:
    for config in (SMALL, LARGE):
        asked = GpuSeconds([config]).ask(work(MusicRequest("jazz", duration=30), config))
        assert asked * 1.5 < 120  # what ZeroGPU makes of it on its present cards

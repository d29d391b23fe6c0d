"""The limiter, and the loudness that it makes possible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.audio.mastering.limiter import Limiter
from musicgen_space.audio.mastering.loudness import (
    LOUDNESS,
    TRUE_PEAK,
    gain_of,
    loudness,
    true_peak,
)
from musicgen_space.audio.mastering.normalise import MOST_LIMITED, normalise
from tests.audio.test_finish import RATE, drums, noise, sine, tune

CEILING = -1.0


@st.composite
def sounds(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """[1 or 2, n] of noise and strokes, at one of several rates."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rate, length = draw(st.sampled_from([1000, 8000, RATE])), draw(st.integers(0, 20_000))
    samples = random.standard_normal((draw(st.integers(1, 2)), length)) * 10 ** random.uniform(
        -3, 0
    )
    samples[:, random.random(length) < draw(st.sampled_from([0, 1e-4, 0.01]))] *= 30
    return samples.clip(-1, 1).astype(np.float32), rate


@given(sounds(), st.floats(-20, 20))
def test_what_is_limited_is_below_the_ceiling_and_never_louder_than_asked(
    sound: tuple[np.ndarray, int], gain: float
) -> None:
    samples, rate = sound
    limiter = Limiter(samples, rate, CEILING)
    limited = limiter.limited(gain)
    assert limited.shape == samples.shape
    assert limited.dtype == np.float32
    assert np.isfinite(limited).all()
    assert (np.abs(limited) <= np.abs(samples) * gain_of(gain) * (1 + 1e-6)).all()
    assert np.abs(limited).max(initial=0) <= gain_of(CEILING) * (1 + 1e-6)
    if limiter.over(gain) <= 0:
        assert np.allclose(limited, samples * gain_of(gain), rtol=1e-5)
        assert limiter.loss(gain) == pytest.approx(0, abs=1e-9)


@given(sounds())
def test_a_normalised_sound_never_exceeds_the_true_peak(sound: tuple[np.ndarray, int]) -> None:
    samples, rate = sound
    before = samples.copy()
    made, limited = normalise(samples, rate)
    assert np.array_equal(samples, before)
    assert made.shape == samples.shape
    assert np.isfinite(made).all()
    assert true_peak(made, rate) <= TRUE_PEAK + 0.001 or np.array_equal(made, samples)
    assert 0 <= limited <= MOST_LIMITED + 1e-6
    if not samples.any():
        assert made is samples


SIGNALS = {
    "drums": drums(6),
    "drums in stereo": np.concatenate([drums(6), 0.3 * drums(6)[:, ::-1]]),
    "a tune": tune(4, -24),
    "a sine": sine(2, 0.7),
    "noise": noise(3, -25),
    "a second": tune(1),
    "quiet, then loud": np.concatenate([0.1 * drums(3), drums(3)], axis=1),
    "a minute of drums": np.tile(drums(6), 10),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_music_reaches_the_loudness_of_others(name: str) -> None:
    made, _ = normalise(SIGNALS[name].astype(np.float32), RATE)
    assert loudness(made, RATE) == pytest.approx(LOUDNESS, abs=0.3)
    assert true_peak(made, RATE) <= TRUE_PEAK + 0.001


def test_only_what_is_near_a_peak_is_turned_down() -> None:
    samples = sine(2, 0.5).astype(np.float32)
    samples[:, RATE] = 1.0
    limited = Limiter(samples, RATE, CEILING).limited(3.0)
    gains = np.divide(
        limited, samples, where=np.abs(samples) > 0.1, out=np.full_like(samples, 1.41)
    )
    early, late = gains[0, : RATE - RATE // 50], gains[0, RATE + RATE :]
    assert np.allclose(early, gain_of(3.0), atol=0.01)
    assert np.allclose(late, gain_of(3.0), atol=0.01)
    assert gains[0, RATE] == pytest.approx(gain_of(CEILING), abs=0.02)


def test_the_gain_moves_smoothly() -> None:
    """A jump would be a click: 1 dB a millisecond is the most."""
    samples = np.full((1, RATE), 0.5, np.float32)
    samples[:, RATE // 2] = 0.9
    limited = Limiter(samples, RATE, CEILING).limited(5.0)
    decibels = 20 * np.log10(np.delete(limited[0], RATE // 2))
    assert np.abs(np.diff(decibels)).max() * RATE / 1000 < 1.5


def test_channels_are_turned_down_together() -> None:
    samples = np.concatenate([drums(2), 0.25 * drums(2)]).astype(np.float32)
    limited = Limiter(samples, RATE, CEILING).limited(6.0)
    assert np.allclose(limited[0], 4 * limited[1], atol=1e-5)


def test_the_same_sound_is_limited_alike_every_time() -> None:
    samples = drums(2).astype(np.float32)
    assert np.array_equal(normalise(samples, RATE)[0], normalise(samples, RATE)[0])


def test_blocks_do_not_show() -> None:
    """A long sound is worked on in blocks; its beginning comes out as it would alone."""
    samples = np.tile(drums(1), 5).astype(np.float32)
    whole = Limiter(samples, RATE, CEILING).limited(6.0)
    begin = Limiter(samples[:, : 3 * RATE], RATE, CEILING).limited(6.0)
    kept = slice(0, 3 * RATE - RATE // 50)
    assert np.allclose(whole[:, kept], begin[:, kept], atol=1e-6)

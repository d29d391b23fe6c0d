from __future__ import annotations

import math
import re
import subprocess
from dataclasses import replace
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.audio.files import FORMATS, encode, read_settings, read_take, settings_of
from musicgen_space.audio.mastering.finish import apply_finish
from musicgen_space.audio.mastering.loudness import (
    LOUDNESS,
    TRUE_PEAK,
    gains_to_match,
    loudness,
    true_peak,
)
from musicgen_space.audio.mastering.normalise import MOST_LIMITED
from musicgen_space.errors import InvalidRequest
from musicgen_space.request import MusicRequest
from musicgen_space.take import FINISH_LIMITS, Finish, Take

RATE = 32_000

switches = st.booleans()
fades = st.floats(0, 10)


def take_of(samples: np.ndarray, rate: int = RATE) -> Take:
    request = MusicRequest("jazz")
    return Take(samples.astype(np.float32), rate, request, "local", "musicgen-nano", 1.0)


def sine(
    seconds: float, amplitude: float = 0.1, hertz: float = 997, rate: int = RATE
) -> np.ndarray:
    """[1, n]."""
    time = np.arange(round(seconds * rate)) / rate
    return amplitude * np.sin(2 * np.pi * hertz * time)[None]


def noise(seconds: float, level: float = -30.0, colour: float = 0.0) -> np.ndarray:
    """[1, n] at ``level`` dBFS; ``colour`` 0 is white, 1 pink."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(round(seconds * RATE)))
    hertz = np.maximum(np.arange(len(spectrum)) / seconds, 20.0)
    samples = np.fft.irfft(spectrum / hertz ** (colour / 2), round(seconds * RATE))
    return 10 ** (level / 20) * (samples / samples.std())[None]


def tune(seconds: float, level: float = -18.0) -> np.ndarray:
    """[1, n]: four notes a second, plucked, each with six overtones and a stroke of noise."""
    time, length = np.arange(RATE // 4) / RATE, round(seconds * RATE)
    strokes = noise(seconds, -20).reshape(-1, len(time)) * np.exp(-time / 0.02)
    for index, stroke in enumerate(strokes):
        hertz = 110 * 2 ** ((0, 4, 7, 12, 9, 5)[index % 6] / 12)
        for overtone in range(1, 7):
            stroke += np.sin(2 * np.pi * hertz * overtone * time) * np.exp(-time * 8) / overtone**2
    samples = strokes.reshape(1, length)
    return 10 ** (level / 20) * samples / samples.std()


def drums(seconds: float) -> np.ndarray:
    """[1, n]: two strokes a second, the first with a deep drum, over a chord."""
    time, length = np.arange(RATE // 2) / RATE, round(seconds * RATE)
    strokes = noise(seconds, -18).reshape(-1, len(time)) * np.exp(-time / 0.08)
    strokes[::2] += np.sin(2 * np.pi * 55 * time) * np.exp(-time / 0.25)
    chord = sum(sine(seconds, 0.12, hertz) for hertz in (220, 277, 330))
    return strokes.reshape(1, length) + chord


def decay(seconds: float, sixty_decibels: float) -> np.ndarray:
    return 10 ** (-3 * np.arange(round(seconds * RATE)) / RATE / sixty_decibels)


def end_to_end(*pieces: np.ndarray) -> np.ndarray:
    return np.concatenate(pieces, axis=1)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("fade_in", 10.1, "fade_in must be a number from 0 to 10 seconds, got 10.1"),
        ("fade_out", -0.1, "fade_out must be a number from 0 to 10 seconds, got -0.1"),
        ("fade_out", math.nan, "fade_out must be a number from 0 to 10 seconds, got nan"),
        ("fade_in", "1", "fade_in must be a number"),
        ("normalise", 1, "normalise must be true or false, got 1"),
        ("trim", None, "trim must be true or false, got None"),
    ],
)
def test_what_is_no_finish_is_refused(field: str, value: Any, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(complaint)):
        Finish(**{field: value})


def test_the_limits_have_the_defaults_of_a_finish() -> None:
    assert all(getattr(Finish(), field) == limit.default for field, limit in FINISH_LIMITS.items())


def test_no_finish_gives_the_very_same_take() -> None:
    take = take_of(tune(1))
    assert apply_finish(take, Finish()) is take


@given(
    st.integers(0, 5000),
    st.integers(1, 2),
    st.sampled_from([1000, 8000, RATE]),
    st.builds(Finish, switches, fades, fades, switches),
    st.integers(0, 2**32 - 1),
)
def test_any_finish_of_any_take_is_a_shorter_take_within_bounds(
    length: int, channels: int, rate: int, finish: Finish, seed: int
) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, (channels, length))
    take = take_of(samples * (seed % 3) / 2, rate)
    before = take.samples.copy()
    finished = apply_finish(take, finish)
    assert np.array_equal(take.samples, before)
    assert finished.samples.dtype == np.float32
    assert np.isfinite(finished.samples).all()
    assert np.abs(finished.samples).max(initial=0) <= 1
    assert (length + 1) // 2 <= finished.samples.shape[1] <= length
    if not finish.trim:
        assert finished.samples.shape == samples.shape
    assert replace(finished, samples=take.samples, finish=None).request is take.request


@given(st.integers(1, 3 * 1000), fades, fades)
def test_fades_rise_and_fall_once_and_share_a_short_take(
    length: int, fade_in: float, fade_out: float
) -> None:
    ones = take_of(np.ones((2, length)), 1000)
    gains = apply_finish(ones, Finish(fade_in=fade_in, fade_out=fade_out)).samples
    assert np.array_equal(gains[0], gains[1])
    assert gains.min() >= 0
    rise, fall = round(fade_in * 1000), round(fade_out * 1000)
    top = min(rise, round(length * rise / max(rise + fall, 1))) if rise + fall > length else rise
    assert (np.diff(gains[0, :top]) >= 0).all()
    assert (np.diff(gains[0, top:]) <= 0).all()
    if rise + fall < length:
        assert (gains[0, rise : length - fall] == 1).all()


def test_a_fade_is_silent_at_its_end_and_half_way_in_the_middle() -> None:
    ones = take_of(np.ones((1, 4000)), 1000)
    gains = apply_finish(ones, Finish(fade_in=1, fade_out=2)).samples[0]
    assert gains[0] == gains[-1] == 0
    assert gains[500] == pytest.approx(0.5, abs=1e-3)
    assert gains[3000] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("rate", [22_050, 32_000, 44_100, 48_000])
def test_loudness_is_as_the_standard_says(rate: int) -> None:
    """BS.1770-4: 997 Hz at full scale in one channel has −3.01 LKFS, in two 3.01 more."""
    tone = sine(5, 1.0, rate=rate)
    assert loudness(tone, rate) == pytest.approx(-3.01, abs=0.05)
    assert loudness(np.tile(tone, (2, 1)), rate) == pytest.approx(0.0, abs=0.05)


@given(st.integers(1, 16_000))
def test_short_takes_have_a_loudness(length: int) -> None:
    assert not math.isnan(loudness(np.full((1, length), 0.1), RATE))


def test_a_short_take_is_about_as_loud_as_a_long_one() -> None:
    assert loudness(sine(0.2), RATE) == pytest.approx(loudness(sine(5), RATE), abs=0.5)


@pytest.mark.parametrize("samples", [np.zeros((2, RATE)), np.zeros((1, 0)), sine(1, 1e-6)])
def test_silence_is_infinitely_quiet_and_stays_as_it_is(samples: np.ndarray) -> None:
    assert loudness(samples, RATE) == -math.inf
    take = take_of(samples)
    assert np.array_equal(apply_finish(take, Finish(normalise=True)).samples, take.samples)


def test_six_channels_are_measured_as_they_are_heard() -> None:
    assert math.isfinite(loudness(np.tile(sine(1), (6, 1)).astype(np.float32), RATE))


def test_a_peak_between_samples_is_found() -> None:
    """A quarter of the rate, sampled half way to its peaks: they are 3.01 dB higher."""
    samples = 0.5 * np.sin(np.pi / 2 * np.arange(RATE) + np.pi / 4)[None]
    fade = np.minimum(np.arange(RATE), np.arange(RATE)[::-1]).clip(0, 3200) / 3200
    assert true_peak(samples * fade, RATE) == pytest.approx(20 * math.log10(0.5), abs=0.05)
    assert 20 * math.log10(np.abs(samples).max()) == pytest.approx(-9.03, abs=0.01)


def test_silence_has_no_peak() -> None:
    assert true_peak(np.zeros((1, 100)), RATE) == true_peak(np.zeros((1, 0)), RATE) == -math.inf


def test_ffmpeg_measures_the_same() -> None:
    """Its filter ebur128 says tenths."""
    take = take_of(np.concatenate([tune(4), noise(4)]))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostats", "-i", "-", "-af", "ebur128=peak=true"]
    done = subprocess.run(
        [*command, "-f", "null", "-"], input=encode(take, "wav"), capture_output=True
    )
    said = done.stderr.decode().split("Summary:")[1]
    level, peak = re.search(r"I: +(\S+) LUFS", said), re.search(r"Peak: +(\S+) dBFS", said)
    assert level is not None
    assert peak is not None
    assert loudness(take.samples, RATE) == pytest.approx(float(level[1]), abs=0.15)
    assert true_peak(take.samples, RATE) == pytest.approx(float(peak[1]), abs=0.25)


@pytest.mark.parametrize("amplitude", [0.001, 0.1, 1.0])
def test_a_tone_is_normalised_to_fourteen_below(amplitude: float) -> None:
    finished = apply_finish(take_of(sine(3, amplitude)), Finish(normalise=True))
    assert loudness(finished.samples, RATE) == pytest.approx(LOUDNESS, abs=0.1)


@pytest.mark.parametrize("factor", [0.01, 0.1, 1])
def test_peaks_that_are_limited_bring_a_take_to_the_loudness_of_others(factor: float) -> None:
    take = apply_finish(take_of(factor * drums(4)), Finish(normalise=True))
    assert loudness(take.samples, RATE) == pytest.approx(LOUDNESS, abs=0.3)
    assert true_peak(take.samples, RATE) == pytest.approx(TRUE_PEAK, abs=0.1)
    assert 0 < take.limited <= MOST_LIMITED


def test_a_take_that_needs_more_than_that_stays_quieter() -> None:
    samples = drums(4)
    samples[:, RATE] = 5
    take = apply_finish(take_of(samples), Finish(normalise=True))
    assert take.limited == pytest.approx(MOST_LIMITED)
    assert loudness(take.samples, RATE) < LOUDNESS - 1
    assert true_peak(take.samples, RATE) == pytest.approx(TRUE_PEAK, abs=0.1)


def test_a_take_whose_peaks_are_low_is_only_scaled() -> None:
    take = take_of(sine(2) + sine(2, 0.05, 313))
    finished = apply_finish(take, Finish(normalise=True))
    assert finished.limited == 0
    ratio = finished.samples[0, 1000] / take.samples[0, 1000]
    assert np.allclose(finished.samples, take.samples * ratio, atol=1e-6)


def test_takes_are_brought_to_the_quietest() -> None:
    takes = [take_of(samples) for samples in (tune(3), tune(3, -30), sine(2), np.zeros((1, 999)))]
    gains = gains_to_match([loudness(take.samples, RATE) for take in takes])
    assert gains[1] == 1
    assert gains[3] == 1
    assert max(gains) <= 1
    levels = [loudness(t.samples * g, RATE) for t, g in zip(takes[:3], gains, strict=False)]
    assert levels == pytest.approx([levels[1]] * 3, abs=0.1)
    assert gains_to_match([-math.inf]) == [1]
    assert gains_to_match([]) == []


TAILS = {
    "silence": np.zeros((1, 2 * RATE)),
    "faint hiss": noise(2, -80),
    "white noise": noise(2, -35),
    "pink noise": noise(2, -35, colour=1),
    "hiss, then silence": end_to_end(noise(2, -35), np.zeros((1, RATE))),
}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("tail", TAILS)
def test_a_silent_or_noisy_tail_is_cut_off(tail: str, channels: int) -> None:
    samples = np.tile(end_to_end(tune(6), TAILS[tail]), (channels, 1))
    finished = apply_finish(take_of(samples), Finish(trim=True))
    assert finished.duration == pytest.approx(6, abs=0.3)
    assert finished.samples.shape[0] == channels
    assert not finished.samples[:, -1].any()  # no click
    kept = slice(0, round(5.7 * RATE))
    assert np.array_equal(finished.samples[:, kept], samples[:, kept].astype(np.float32))


TIME = np.arange(3 * RATE) / RATE
ENDINGS = {
    "none": tune(1),
    "a slow cymbal": noise(3, -25) * decay(3, 12),
    "reverberation": noise(3, -25, colour=1) * decay(3, 4),
    "a riser": noise(3, -50) * 10 ** (TIME / 2),
    "hi-hats": noise(3, -25) * np.exp(-(TIME % 0.125) / 0.03),
    "a roll of drums": noise(3, -18) * np.exp(-(TIME % 0.04) / 0.05),
    "a chord": sum(sine(3, 0.02, hertz) for hertz in (110, 220, 277, 330, 440, 1320, 5280)),
    "a short rest": np.zeros((1, RATE // 4)),
    "a moment of noise": noise(1, -35),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_end_of_music_is_kept(ending: str) -> None:
    take = take_of(end_to_end(tune(6), ENDINGS[ending]))
    assert np.array_equal(apply_finish(take, Finish(trim=True)).samples, take.samples)


@pytest.mark.parametrize(
    "samples",
    [
        noise(6, -20),
        end_to_end(tune(2), noise(2), tune(4), noise(2, -30)),
        np.zeros((1, RATE)),
        np.zeros((1, 0)),
    ],
    ids=["noise throughout", "noise in turns", "silence throughout", "nothing"],
)
def test_what_a_take_is_made_of_is_no_tail(samples: np.ndarray) -> None:
    assert apply_finish(take_of(samples), Finish(trim=True)).samples.shape == samples.shape


@pytest.mark.parametrize("tail", [np.zeros((1, 8 * RATE)), noise(8, -40)], ids=["silence", "noise"])
def test_half_of_a_take_is_never_cut(tail: np.ndarray) -> None:
    finished = apply_finish(take_of(end_to_end(tune(2), tail)), Finish(trim=True))
    assert finished.duration == 5


def test_a_trimmed_take_is_faded_and_normalised_afterwards() -> None:
    """A loud fade would change the loudness, and a fade at the old end would not be there."""
    take = take_of(end_to_end(tune(6, -40), np.zeros((1, 2 * RATE))))
    finished = apply_finish(take, Finish(normalise=True, fade_out=3, trim=True))
    assert finished.duration == pytest.approx(6, abs=0.1)
    reached = loudness(finished.samples, RATE), true_peak(finished.samples, RATE)
    assert reached[0] == pytest.approx(LOUDNESS, abs=0.1) or reached[1] == pytest.approx(
        TRUE_PEAK, abs=0.01
    )
    assert np.abs(finished.samples[:, -RATE // 10 :]).max() < 0.02


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_tells_its_finish(name: str) -> None:
    finish = Finish(normalise=True, fade_out=0.5)
    data = encode(apply_finish(take_of(tune(1)), finish), name)
    told = read_settings(data)
    assert told is not None
    assert told["finish"] == finish.settings()
    read = read_take(data)
    assert read is not None
    assert read.finish is not None
    assert read.finish == finish


def test_a_raw_take_tells_of_no_finish() -> None:
    data = encode(apply_finish(take_of(tune(1)), Finish()), "wav")
    told, read = read_settings(data), read_take(data)
    assert told is not None
    assert "finish" not in told
    assert read is not None
    assert read.finish is None


@pytest.mark.parametrize("told", [{"fade_in": 99}, {"reverb": True}])
def test_somebody_elses_finish_makes_no_take(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, Any]
) -> None:
    take = take_of(tune(1))
    settings = {**settings_of(take), "finish": told}
    monkeypatch.setattr("musicgen_space.audio.files.settings_of", lambda _: settings)
    assert read_take(encode(take, "flac")) is None

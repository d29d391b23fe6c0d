"""Loops: their tempo and key, the joint, and what files say of them."""

from __future__ import annotations

import io
import struct
import subprocess
from dataclasses import replace
from typing import Any

import imageio_ffmpeg
import mutagen
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen_space.audio.files import FORMATS, encode, read_settings, read_take, settings_of
from musicgen_space.audio.loops.joint import crossfaded, fitness
from musicgen_space.audio.loops.key import KEYS
from musicgen_space.audio.loops.loop import find_loop, make_loop
from musicgen_space.errors import InvalidRequest
from musicgen_space.take import Finish, Loop
from tests.audio.test_finish import RATE, noise, sine, take_of

CHORDS = {
    "major": ((0, 4, 7), (5, 9, 12), (7, 11, 14)),
    "minor": ((0, 3, 7), (5, 8, 12), (7, 10, 14)),
}


def band(
    bpm: float, seconds: float = 10, root: int = 0, mode: str = "major", beats: int = 4
) -> np.ndarray:
    """[1, n]: hats on every beat; a drum, a bass and a chord with every bar. ``root`` 0 is C."""
    sound = np.zeros(round((seconds + 10) * RATE))
    hiss = np.random.default_rng(0).standard_normal(RATE)
    time = np.arange(round(beats * 60 / bpm * RATE)) / RATE
    hat = 0.05 * hiss[: RATE // 4] * np.exp(-time[: RATE // 4] / 0.03)
    for beat in range(int(seconds * bpm / 60) + 1):
        start = round(beat * 60 / bpm * RATE)
        sound[start : start + len(hat)] += hat
        if beat % beats == 0:
            chord = CHORDS[mode][(0, 1, 2, 0)[beat // beats % 4]]
            drum = 0.4 * np.sin(2 * np.pi * 60 * time) * np.exp(-time / 0.08)
            sound[start : start + len(time)] += drum
            for step, share in ((chord[0] - 12, 2.0), *((note, 1.0) for note in chord)):
                wave = np.sin(2 * np.pi * 261.63 * 2 ** ((root + step) / 12) * time)
                sound[start : start + len(time)] += 0.05 * share * wave * np.exp(-time / 0.7)
    return sound[None, : round(seconds * RATE)].astype(np.float32)


def pad(seconds: float = 6) -> np.ndarray:
    """[1, n]: a chord that swells and fades slowly, twice."""
    time = np.arange(round(seconds * RATE)) / RATE
    swell = 0.5 + 0.4 * np.sin(2 * np.pi * time / (seconds / 2))
    return sum(sine(seconds, 0.1, hertz) for hertz in (220, 261.63, 329.63)) * swell


@pytest.mark.parametrize("bpm", [72, 97, 150])
def test_a_loop_is_whole_bars_at_the_tempo_of_the_take(bpm: float) -> None:
    loop = find_loop(band(bpm), RATE)
    assert loop.bpm == pytest.approx(bpm, rel=0.01)
    assert loop.bars >= 1
    assert (loop.end - loop.start) / RATE == pytest.approx(loop.bars * 4 * 60 / bpm, abs=0.01)
    assert loop.end - loop.start >= 5 * RATE


def test_a_waltz_has_bars_of_three() -> None:
    loop = find_loop(band(110, 14, beats=3), RATE)
    assert (loop.end - loop.start) / RATE == pytest.approx(loop.bars * 3 * 60 / 110, abs=0.01)
    assert loop.bpm == pytest.approx(110, rel=0.01)


@pytest.mark.parametrize("key", ["C major", "A minor", "F♯ minor", "E♭ major"])
def test_the_key_is_told(key: str) -> None:
    root, mode = KEYS.index(key) % 12, key.split()[1]
    assert find_loop(band(100, root=root, mode=mode), RATE).key == key


@pytest.mark.parametrize("sound", [noise(3, -20), pad(), np.zeros((1, 2 * RATE))])
def test_what_has_no_beat_loops_where_its_ends_are_alike(sound: np.ndarray) -> None:
    samples = sound.astype(np.float32)
    loop = find_loop(samples, RATE)
    assert (loop.bars, loop.bpm) == (0, None)
    assert loop.end - loop.start >= samples.shape[1] / 2
    assert loop.quality >= 0.5


@pytest.mark.parametrize("sound", [noise(3, -20), np.zeros((1, 2 * RATE))])
def test_no_key_is_told_where_there_is_none(sound: np.ndarray) -> None:
    assert find_loop(sound.astype(np.float32), RATE).key is None


def jump(samples: np.ndarray) -> float:
    """By how much the step at the joint exceeds all others, as a ratio."""
    steps = np.abs(np.diff(samples[0]))
    return float(abs(samples[0, 0] - samples[0, -1]) / max(steps.max(), 1e-9))


DRONE = sum(sine(4, 0.1, hertz) for hertz in (40, 53.7, 71.3, 97.1))  # never the same again


@pytest.mark.parametrize("sound", [band(120), band(97, root=5), DRONE, sine(3, 0.5, 333)])
def test_a_loop_has_no_click_where_it_starts_again(sound: np.ndarray) -> None:
    samples = sound.astype(np.float32)
    made = make_loop(samples, RATE, find_loop(samples, RATE))
    assert jump(made) <= 1
    power = [np.square(part).mean() for part in (made[:, -RATE // 50 :], made[:, : RATE // 50])]
    tone = np.square(samples).mean() * 1e-3
    if sound.shape[1] == 3 * RATE:  # the level of a steady tone stays
        assert 10 * np.log10((power[0] + tone) / (power[1] + tone)) == pytest.approx(0, abs=0.5)


def test_a_loop_fits_better_than_the_whole_take_does() -> None:
    samples = band(113, 9.3)
    loop = find_loop(samples, RATE)
    assert loop.quality > 2 * fitness(samples, RATE, samples, (0, samples.shape[1]))


def test_a_joint_that_is_heard_is_called_so() -> None:
    """Silence, then noise: no two moments half of it apart are alike."""
    samples = np.concatenate([1e-4 * noise(2, -20), noise(2, 0)], axis=1).astype(np.float32)
    whole = fitness(samples, RATE, samples, (0, samples.shape[1]))
    assert replace(find_loop(samples, RATE), quality=whole).joint == "audible"


@settings(max_examples=10)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1000, 8000, 22_050, RATE]),
    st.floats(1.01, 2),
    st.integers(1, 2),
)
def test_whatever_lasts_a_second_loops(seed: int, rate: int, seconds: float, channels: int) -> None:
    random = np.random.default_rng(seed)
    samples = random.uniform(-1, 1, (channels, round(seconds * rate))).astype(np.float32)
    samples *= (random.random(samples.shape[1]) < random.random()) * random.random()
    before = samples.copy()
    loop = find_loop(samples, rate)
    made = make_loop(samples, rate, loop)
    assert np.array_equal(samples, before)
    assert 0 <= loop.start < loop.end <= samples.shape[1]
    assert made.shape == (channels, loop.end - loop.start)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert np.abs(made).max() <= np.abs(samples).max()
    assert 0 <= loop.quality <= 1
    assert loop == find_loop(samples, rate)


def test_less_than_a_second_is_no_loop() -> None:
    with pytest.raises(InvalidRequest, match=r"loop needs a take of 1 second or more, got '0.50"):
        take_of(sine(0.5)).looped()


@given(st.integers(0, 300), st.integers(1, 300), st.integers(0, 300), st.integers(0, 200))
def test_a_crossfade_takes_what_there_is(before: int, length: int, after: int, fade: int) -> None:
    samples = np.ones((2, before + length + after), np.float32)
    made = crossfaded(samples, before, before + length, fade)
    assert made.shape == (2, length)
    assert np.allclose(made, 1)


LOOPED = take_of(band(120, 5)).looped()


def test_a_looped_take_tells_its_loop_and_is_the_loop() -> None:
    raw = take_of(band(120, 5))
    loop = LOOPED.loop
    assert loop is not None
    assert LOOPED.samples.shape[1] == loop.end - loop.start
    assert raw.loop is None
    assert LOOPED.looped() is LOOPED
    assert LOOPED.finished(Finish(fade_out=1)).loop is None
    assert raw.finished(Finish(normalise=True)).looped().finish == Finish(normalise=True)


def chunks(wav: bytes) -> dict[bytes, bytes]:
    """The chunks of a RIFF file."""
    assert wav[:4] == b"RIFF"
    assert struct.unpack("<I", wav[4:8])[0] == len(wav) - 8
    place, found = 12, {}
    while place < len(wav):
        name, size = struct.unpack_from("<4sI", wav, place)
        found[name] = wav[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return found


def test_a_wav_has_its_loop_for_samplers() -> None:
    words = struct.unpack("<15I", chunks(encode(LOOPED, "wav"))[b"smpl"])
    period, loops, kind, first, last, times = (words[place] for place in (2, 7, 10, 11, 12, 14))
    assert period == round(1e9 / RATE)
    assert (loops, kind, first, times) == (1, 0, 0, 0)
    assert last == LOOPED.samples.shape[1] - 1


@pytest.mark.parametrize("name", ["flac", "ogg"])
def test_players_find_the_loop_in_comments(name: str) -> None:
    tags = mutagen.File(io.BytesIO(encode(LOOPED, name)))
    assert tags["LOOPSTART"] == ["0"]
    assert tags["LOOPLENGTH"] == [str(LOOPED.samples.shape[1])]


@pytest.mark.parametrize("name", FORMATS)
def test_a_loop_comes_back_from_its_file_to_the_sample(name: str) -> None:
    data = encode(LOOPED, name)
    read = read_take(data)
    assert read is not None
    assert read.loop == LOOPED.loop
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "-", "-f", "f32le", "-"]
    decoded = subprocess.run(command, input=data, capture_output=True, check=True).stdout
    assert read.samples.shape == LOOPED.samples.shape
    assert len(decoded) == 4 * LOOPED.samples.shape[1]


def test_a_take_that_is_no_loop_has_no_marks() -> None:
    take = take_of(band(120, 2))
    told = read_settings(encode(take, "flac"))
    assert told is not None
    assert "loop" not in told
    assert b"smpl" not in chunks(encode(take, "wav"))


@pytest.mark.parametrize(
    "change",
    [{"start": "0"}, {"quality": float("nan")}, {"key": 7}, {"bars": -1}, {"reverb": 1}, None],
)
def test_somebody_elses_loop_is_none(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    told = settings_of(LOOPED)
    told["loop"] = {**told["loop"], **change} if change else [1]
    monkeypatch.setattr("musicgen_space.audio.files.settings_of", lambda _: told)
    read = read_take(encode(LOOPED, "flac"))
    assert read is not None
    assert read.loop is None


def test_the_joint_is_told_in_a_word() -> None:
    loop = Loop(0, 1, 0.0, 0, None, None, 1.0)
    words = [replace(loop, quality=quality).joint for quality in (1.0, 0.8, 0.5, 0.49, 0.0)]
    assert words == ["seamless", "good", "good", "audible", "audible"]

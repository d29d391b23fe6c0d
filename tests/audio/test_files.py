from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.audio.clips import decode
from musicgen_space.audio.files import (
    FORMATS,
    encode,
    formats_for,
    read_settings,
    read_take,
    settings_of,
)
from musicgen_space.audio.resample import to_int16
from musicgen_space.clip import Clip
from musicgen_space.request import MusicRequest
from musicgen_space.take import Receipt, Take

RATE = 32000


def take_of(samples: np.ndarray, prompt: str = "jazz", **wish: Any) -> Take:
    request = MusicRequest(prompt, **wish)
    return Take(samples, RATE, request, backend="local", model="musicgen-nano", seconds_taken=1.0)


def tone(seconds: float, channels: int = 1) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return np.tile(0.5 * np.sin(2 * np.pi * 440 * time), (channels, 1)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_length_rate_channels_and_sound(name: str, channels: int) -> None:
    samples = tone(3.21, channels)
    data = encode(take_of(samples), name)
    decoded, rate = soundfile.read(io.BytesIO(data), always_2d=True)
    assert rate == RATE
    assert decoded.shape == samples.T.shape
    # Lossy formats bend the very ends of a tone that starts from nothing.
    assert np.abs(decoded - samples.T)[400:-400].max() < (1e-4 if name in ("wav", "flac") else 0.1)


@pytest.mark.parametrize("name", FORMATS)
def test_prompt_seed_and_model_are_in_the_tags(name: str) -> None:
    prompt = "Füße, 日本の祭り 🎵 & “quotes”"
    data = encode(take_of(tone(1), prompt, seed=7, duration=1), name)
    settings = read_settings(data)
    assert settings is not None
    assert settings["prompt"] == prompt
    assert (settings["seed"], settings["model"], settings["duration"]) == (7, "musicgen-nano", 1.0)


@given(st.text(min_size=1, max_size=200), st.sampled_from(sorted(FORMATS)))
def test_any_valid_prompt_survives_in_a_file(text: str, name: str) -> None:
    try:
        take = take_of(np.zeros((1, 640), np.float32), text)
    except ValueError:
        return
    settings = read_settings(encode(take, name))
    assert settings is not None
    assert settings["prompt"] == take.request.prompt


@pytest.mark.parametrize("name", ["wav", "flac", "ogg", "mp3"])
def test_a_file_becomes_the_take_it_was(name: str) -> None:
    written = take_of(tone(1), seed=9, top_k=50)
    read = read_take(encode(written, name))
    assert read is not None
    assert read.request == written.request
    assert read.duration == pytest.approx(1.0)


@pytest.mark.parametrize("letter", ["a", "é", "🎵", '"'])
@pytest.mark.parametrize("name", FORMATS)
def test_the_longest_prompts_fit_into_every_format(name: str, letter: str) -> None:
    texts = {"negative_prompt": letter * 1000, "blend_prompt": letter * 999}
    written = take_of(tone(1), letter * 998, **texts)
    read = read_take(encode(written, name))
    assert read is not None
    assert read.request == written.request


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_keeps_all_that_was_wished_and_what_it_cost(name: str) -> None:
    clip = Clip(tone(2), RATE, "song.mp3", start=3.5)
    wish = MusicRequest(
        "jazz", duration=60, negative_prompt="drums", blend_prompt="strings", continue_from=clip
    )
    receipt = Receipt(cost=0.5, credits_left=7.0, request_id="abc")
    written = replace(take_of(tone(1)), request=wish, receipt=receipt)
    data = encode(written, name)
    settings = read_settings(data)
    assert settings is not None
    assert settings["continue_from"] == clip.described()
    read = read_take(data)
    assert read is not None
    assert read.request == replace(wish, continue_from=None)  # a file says which clip it was
    assert read.receipt == receipt
    assert read.clips == written.clips == {"continue_from": clip.facts}
    assert settings_of(read)["continue_from"] == clip.described()


@pytest.mark.parametrize(("lengths", "length"), [((10, 60), 60), ((20, 30), 20)])
def test_a_file_from_when_there_were_two_lengths_is_read(
    lengths: tuple[int, int], length: int
) -> None:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, 1, "PCM_16", format="FLAC") as writer:
        duration, extend_to = lengths
        old = {"prompt": "jazz", "duration": duration, "extend_to": extend_to}
        writer.comment = json.dumps(old)
        writer.write(tone(1).T)
    read = read_take(file.getvalue())
    assert read is not None
    assert read.request == MusicRequest("jazz", duration=length)


WHOLE = '{"name": "a", "seconds": 1}'


@pytest.mark.parametrize(
    ("facts", "seconds"),
    [
        ("null", 0),
        ('"own"', 0),
        ("[1]", 0),
        ('{"name": "a"}', 0),
        (WHOLE, 1),
        (WHOLE.replace("1", "0"), 0),
        (WHOLE.replace("1", "NaN"), 0),
        (WHOLE.replace("1", "Infinity"), 0),
        (WHOLE.replace("1", "9" * 400), 0),
        (WHOLE.replace('"a"', "7"), 0),
        (WHOLE.replace("}", ', "start": -1}'), 0),
        (WHOLE.replace("}", ', "digest": 1}'), 0),
    ],
)
def test_a_take_is_read_whatever_its_file_says_of_a_clip(facts: str, seconds: float) -> None:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, 1, "PCM_16", format="FLAC") as writer:
        writer.comment = f'{{"prompt": "jazz", "continue_from": {facts}}}'
        writer.write(tone(2).T)
    read = read_take(file.getvalue())
    assert read is not None
    assert (read.given_seconds, read.request) == (seconds, MusicRequest("jazz"))


@pytest.mark.parametrize("comment", ["[]", '{"prompt": 5}', '{"prompt": "a", "receipt": 1}', "{"])
def test_somebody_elses_comment_is_no_take(comment: str) -> None:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, 1, "PCM_16", format="FLAC") as writer:
        writer.comment = comment
        writer.write(tone(1).T)
    assert read_take(file.getvalue()) is None


def test_a_file_of_somebody_else_has_no_settings() -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(1).T, RATE, format="WAV")
    assert read_settings(file.getvalue()) is None
    assert read_settings(b"not audio at all") is None


def test_samples_beyond_full_scale_are_clipped_not_wrapped() -> None:
    samples = np.array([[-3.0, -1.0, 0.0, 1.0, 3.0]], np.float32)
    assert to_int16(samples).tolist() == [[-32768, -32768, 0, 32767, 32767]]


def test_samples_of_a_file_are_the_same_when_they_are_written_again() -> None:
    every = np.arange(-(2**15), 2**15, dtype=np.int16)
    file = io.BytesIO()
    soundfile.write(file, every, 32_000, format="FLAC")
    samples, _ = decode(file.getvalue())
    assert np.array_equal(to_int16(samples)[0], every)


@pytest.mark.parametrize(("rate", "channels"), [(96000, 2), (44099, 1), (48000, 6), (8000, 1)])
def test_a_take_is_offered_in_every_format_that_can_hold_it(rate: int, channels: int) -> None:
    samples = np.zeros((channels, rate // 10), np.float32)
    take = Take(samples, rate, MusicRequest("jazz"), "segmind", "meta-musicgen-medium", 1.0)
    names = formats_for(take)
    assert names[:2] == ["wav", "flac"]
    for name in names:
        assert soundfile.info(io.BytesIO(encode(take, name))).channels == channels

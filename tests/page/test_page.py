"""The page's own logic, without a browser: pictures, live sound, words."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from musicgen_space.audio.peaks import peaks, peaks_per_second
from musicgen_space.audio.spectrogram import spectrogram
from musicgen_space.backends.base import Chunk, Loading, Progress, Waiting
from musicgen_space.clip import Clip
from musicgen_space.message import Message, english
from musicgen_space.page.player.player import facts, file_name
from musicgen_space.page.player.progress import TakeProgress, status
from musicgen_space.page.player.shelf import Shelf
from musicgen_space.request import MusicRequest
from musicgen_space.take import Take
from tests.page.told import told

RATE = 32000


def tone(hertz: float, seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * hertz * time))[None].astype(np.float32)


def take_of(samples: np.ndarray, prompt: str = "jazz") -> Take:
    return Take(samples, RATE, MusicRequest(prompt), "local", "musicgen-nano", 2.0)


def test_peaks_are_percent_of_full_scale() -> None:
    samples = np.concatenate([np.zeros((1, RATE)), tone(440, 1), np.full((1, 100), 3.0)], axis=1)
    assert peaks(samples, RATE, 20) == [0] * 20 + [50] * 20 + [100]


@pytest.mark.parametrize("seconds", [0.1, 1, 30, 61, 325])
def test_a_waveform_is_of_bounded_size(seconds: float) -> None:
    assert 1 <= peaks_per_second(seconds) * seconds <= 600


@pytest.mark.parametrize(("hertz", "from_top"), [(100, 0.97), (1000, 0.73), (12000, 0.08)])
def test_high_notes_are_high_up_in_the_spectrogram(hertz: float, from_top: float) -> None:
    image = Image.open(io.BytesIO(spectrogram(tone(hertz, 2), RATE)))
    brightness = np.asarray(image.convert("L"), float).mean(axis=1)
    assert brightness.argmax() / image.height == pytest.approx(from_top, abs=0.03)


@pytest.mark.parametrize("samples", [np.zeros((1, RATE)), np.zeros((2, 10)), tone(440, 30)])
def test_every_sound_has_a_spectrogram_of_bounded_size(samples: np.ndarray) -> None:
    image = Image.open(io.BytesIO(spectrogram(samples, RATE)))
    assert 1 <= image.width <= 1300


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (Waiting(1), "You are next."),
        (Waiting(3), "Place 3 in the queue."),
        (Waiting(1, 5), "You are next, in about 5 s."),
        (Waiting(3, 180), "Place 3 in the queue: your turn in about 3 min."),
        (Loading(Message("Loading {model}", model="musicgen-nano")), "Loading musicgen-nano …"),
        (Progress(0.0, 10, 0.2), "0.0 of 10 s"),
        (Progress(7.2, 10, 4.0), "7.2 of 10 s · 1.8× real time · 2 s left"),
        (Progress(7, 10, 4, lately=0.5), "7.0 of 10 s · 0.5× real time · 6 s left"),
        (Progress(47.3, 300, 47.3), "0:47 of 5:00 · 1.0× real time · 4:13 left"),
        (Progress(250, 300, 250), "4:10 of 5:00 · 1.0× real time · 50 s left"),
    ],
)
def test_updates_are_told_in_a_musicians_words(update: object, expected: str) -> None:
    assert english(status(update)) == expected  # type: ignore[arg-type]


def test_several_takes_are_told_as_such() -> None:
    assert (
        english(status(Progress(1, 2, 1), takes=4))
        == "4 takes at once · 1.0 of 2 s · 1.0× real time · 1 s left"
    )
    assert english(status(Waiting(1), takes=4)) == "You are next."


def test_a_take_grows_in_the_player_and_can_be_downloaded_when_it_is_done() -> None:
    shelf = Shelf()
    progress = TakeProgress(MusicRequest("jazz", duration=2), shelf)
    first = progress.view
    assert (first["phase"], first["chunks"], first["wanted"]) == ("busy", 0, 2.0)
    progress.add(Chunk(tone(440, 1), RATE))
    grown = progress.add(Progress(1.5, 2, 1.0))
    assert (grown["chunks"], len(grown["peaks"]), grown["speed"]) == (1, 20, 1.5)
    take = take_of(tone(440, 2))
    done = progress.finish([take])
    assert (done["phase"], done["take"], done["chunks"]) == ("done", first["take"], 1)
    [shown] = done["takes"]
    assert shown["formats"] == ["wav", "flac", "ogg", "mp3"]
    assert len(shown["peaks"]) == 40
    assert "seed 42" in told(shown["facts"])
    assert shelf.take(done["take"], 0) is take


def test_the_first_of_several_variations_is_heard_while_they_are_made() -> None:
    progress = TakeProgress(MusicRequest("jazz", duration=2, variations=2), Shelf())
    assert progress.view["variations"] == 2
    for variation in (0, 1):
        progress.add(Chunk(tone(440, 1), RATE, variation))
    assert (progress.view["chunks"], len(progress.view["peaks"])) == (1, 20)
    takes = [
        dataclasses.replace(take_of(tone(440, 2)), request=MusicRequest("jazz", seed=seed))
        for seed in (42, 43)
    ]
    done = progress.finish(takes)
    assert [told(shown["facts"])[:24] for shown in done["takes"]] == [
        "musicgen-nano · seed 42 ",
        "musicgen-nano · seed 43 ",
    ]
    assert told(done["announcement"]) == "2 takes are ready."


def test_a_continued_take_shows_where_the_new_music_begins() -> None:
    clip = Clip(tone(220, 3), RATE, "riff.wav")
    request = MusicRequest("jazz", duration=2, continue_from=clip)
    progress = TakeProgress(request, Shelf())
    assert (progress.view["wanted"], progress.view["begins"]) == (5.0, 3.0)
    take = dataclasses.replace(take_of(tone(440, 5)), request=request)
    done = progress.finish([take])
    assert (done["wanted"], done["begins"]) == (5.0, 3.0)
    # Two seconds are new, and they took two seconds: what was there does not count.
    assert english(facts(take)) == (
        "musicgen-nano · seed 42 · 5 s · goes on from riff.wav · made in 2.0 s, 1.0× real time"
    )


def test_five_minutes_in_odd_chunks_keep_their_place_in_the_waveform() -> None:
    progress = TakeProgress(MusicRequest("jazz", duration=300), Shelf())
    loud = np.ones((1, 1), np.float32)
    for size in [RATE + 640] * 294 + [32000 * 300 - 294 * (RATE + 640)]:
        progress.add(Chunk(np.repeat(loud, size, axis=1), RATE))
    assert progress.view["wanted"] == 300
    assert progress.view["peaks"] == [100] * 600


def test_long_lengths_are_told_in_minutes() -> None:
    assert " · 5:00 · " in english(facts(take_of(np.zeros((1, 300 * RATE)))))


@given(st.text(min_size=1, max_size=300))
def test_file_names_are_safe_whatever_the_prompt(text: str) -> None:
    try:
        name = file_name(take_of(np.zeros((1, 1)), text))
    except ValueError:
        return
    assert name.isascii()
    assert all(letter.isalnum() or letter == "-" for letter in name)
    assert name.endswith("-seed42")
    assert len(name) < 80

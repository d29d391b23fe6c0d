"""The page's own logic, without a browser: pictures, live sound, words."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from musicgen_space.backends.base import Chunk, Loading, Progress, Waiting
from musicgen_space.request import MusicRequest, Take
from musicgen_space.ui import pictures
from musicgen_space.ui.live import LiveSound
from musicgen_space.ui.player import file_name
from musicgen_space.ui.progress import TakeProgress, words

RATE = 32000


def tone(hertz: float, seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * hertz * time))[None].astype(np.float32)


def take_of(samples: np.ndarray, prompt: str = "jazz") -> Take:
    return Take(samples, RATE, MusicRequest(prompt), "local", "musicgen-nano", 2.0)


def test_peaks_are_percent_of_full_scale() -> None:
    samples = np.concatenate([np.zeros((1, RATE)), tone(440, 1), np.full((1, 100), 3.0)], axis=1)
    assert pictures.peaks(samples, RATE) == [0] * 20 + [50] * 20 + [100]


@pytest.mark.parametrize(("hertz", "from_top"), [(100, 0.97), (1000, 0.73), (12000, 0.08)])
def test_high_notes_are_high_up_in_the_spectrogram(hertz: float, from_top: float) -> None:
    image = Image.open(io.BytesIO(pictures.spectrogram(tone(hertz, 2), RATE)))
    brightness = np.asarray(image.convert("L"), float).mean(axis=1)
    assert brightness.argmax() / image.height == pytest.approx(from_top, abs=0.03)


@pytest.mark.parametrize("samples", [np.zeros((1, RATE)), np.zeros((2, 10)), tone(440, 30)])
def test_every_sound_has_a_spectrogram_of_bounded_size(samples: np.ndarray) -> None:
    image = Image.open(io.BytesIO(pictures.spectrogram(samples, RATE)))
    assert 1 <= image.width <= 1300


def test_live_sound_comes_back_chunk_by_chunk() -> None:
    live = LiveSound()
    take = live.start()
    assert live.append(take, np.array([[0.0, 1.0], [-1.0, 0.5]])) == 1
    encoded = live.chunk(take, 0)
    assert encoded is not None
    interleaved = np.frombuffer(base64.b64decode(encoded), "<i2")
    assert interleaved.tolist() == [0, -32767, 32767, 16384]
    assert live.chunk(take, 1) is None
    assert live.chunk("somebody-else", 0) is None


def test_old_live_sound_is_forgotten() -> None:
    live = LiveSound()
    takes = [live.start() for _ in range(40)]
    for take in takes:
        live.append(take, np.zeros((1, 10)))
    assert live.chunk(takes[0], 0) is None
    assert live.chunk(takes[-1], 0) is not None


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (Waiting(1), "You are next."),
        (Waiting(3), "Place 3 in the queue."),
        (Loading("Loading musicgen-nano"), "Loading musicgen-nano …"),
        (Progress(0.0, 10, 0.2), "0.0 of 10 s"),
        (Progress(7.2, 10, 4.0), "7.2 of 10 s · 1.8× real time · 2 s left"),
    ],
)
def test_updates_are_told_in_a_musicians_words(update: object, expected: str) -> None:
    assert words(update) == expected  # type: ignore[arg-type]


def test_a_take_grows_in_the_player_and_ends_with_its_files(tmp_path: Path) -> None:
    progress = TakeProgress(MusicRequest("jazz", duration=2), LiveSound(), str(tmp_path))
    first = progress.view
    assert (first["phase"], first["chunks"], first["wanted"]) == ("busy", 0, 2.0)
    progress.add(Chunk(tone(440, 1), RATE))
    grown = progress.add(Progress(1.5, 2, 1.0))
    assert (grown["chunks"], len(grown["peaks"]), grown["speed"]) == (1, 20, 1.5)
    done = progress.add(take_of(tone(440, 2)))
    assert (done["phase"], done["take"], done["chunks"]) == ("done", first["take"], 1)
    assert [entry["label"] for entry in done["downloads"]] == ["WAV", "FLAC", "OGG", "MP3"]
    assert all(Path(entry["file"]["path"]).stat().st_size for entry in done["downloads"])
    assert "seed 42" in done["facts"]


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

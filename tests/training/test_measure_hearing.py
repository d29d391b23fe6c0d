"""Whether plain ears hear what is plainly there."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("librosa", reason="requirements-training.txt is not installed")

from training.measure.hearing import CHROMA_RATE, chroma, mode_of, percussive_share, tempo_of

RATE = 32000


def clicks(bpm: float, seconds: float = 9) -> np.ndarray:
    sound = np.zeros(round(seconds * RATE), np.float32)
    burst = np.random.default_rng(0).normal(0, 0.5, 800) * np.exp(-np.arange(800) / 150)
    for beat in np.arange(0.2, seconds - 0.1, 60 / bpm):
        at = round(beat * RATE)
        sound[at : at + 800] += burst
    return sound


def tones(keys: list[int], seconds: float = 0.4) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    notes = [
        sum(np.sin(2 * np.pi * 440 * 2 ** ((key - 69) / 12) * k * time) / k for k in (1, 2, 3))
        for key in keys
    ]
    return 0.1 * np.concatenate(notes, dtype=np.float32)


@pytest.mark.parametrize("bpm", [90, 120, 140])
def test_the_tempo_of_clicks(bpm: float) -> None:
    assert tempo_of(clicks(bpm), RATE) == pytest.approx(bpm, rel=0.03)


@pytest.mark.parametrize(
    ("keys", "mode"),
    [
        ([60, 62, 64, 65, 67, 69, 71, 72, 67, 64, 60], "major"),
        ([57, 59, 60, 62, 64, 65, 67, 69, 64, 60, 57], "minor"),
        ([66, 68, 70, 71, 73, 75, 77, 78, 73, 70, 66], "major"),
    ],
)
def test_the_mode_of_a_scale(keys: list[int], mode: str) -> None:
    assert mode_of(chroma(tones(keys), RATE)) == mode


def test_chroma_has_its_frames_and_its_pitch_class() -> None:
    heard = chroma(tones([69], seconds=4), RATE)
    assert heard.shape == (12, 4 * CHROMA_RATE + 1)
    assert (heard[:, 5:15].argmax(axis=0) == 9).all()


def test_clicks_are_percussive_and_tones_are_not() -> None:
    assert percussive_share(clicks(120, 3)) > 0.7
    assert percussive_share(tones([60, 64, 67], seconds=1)) < 0.2

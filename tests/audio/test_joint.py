"""Where one sound goes over into another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.audio.joint import AROUND_SECONDS, crossfade, find_joint

RATE = 16_000
AROUND = round(AROUND_SECONDS * RATE)


def noise(seconds: float, seed: int, channels: int = 1) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(0, 0.1, (channels, round(seconds * RATE)))
    return samples.astype(np.float32)


def notes(seconds: float, every: float = 0.5) -> np.ndarray:
    """Notes that fade away, each on a beat and at another pitch."""
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 110 * 2 ** (np.floor(time / every) * 5 % 12 / 12)
    sound = np.sin(2 * np.pi * pitch * time) * np.exp(-8 * (time % every))
    return (0.4 * sound + noise(seconds, 9)[0] * 0.01).astype(np.float32)[None]


@given(st.integers(0, 3000), st.integers(1, 2), st.integers(0, 99))
def test_a_crossfade_of_a_sound_with_itself_is_that_sound(
    length: int, channels: int, seed: int
) -> None:
    sound = noise(length / RATE, seed, channels)
    faded = crossfade(sound, sound)
    assert (faded.shape, faded.dtype) == (sound.shape, np.float32)
    assert np.allclose(faded, sound, atol=1e-6)


def test_a_crossfade_of_unrelated_sounds_is_as_loud_as_they_are_all_the_way() -> None:
    faded = crossfade(noise(1, 1), noise(1, 2))[0]
    for part in np.split(faded, 10):
        assert part.std() == pytest.approx(0.1, rel=0.1)


def test_a_crossfade_begins_as_the_one_and_ends_as_the_other() -> None:
    before, after = noise(0.1, 1), noise(0.1, 2)
    faded = crossfade(before, after)
    assert np.abs(faded - before)[:, :5].max() < 3e-3
    assert np.abs(faded - after)[:, -5:].max() < 3e-3


@pytest.mark.parametrize("sound", [np.zeros((1, 800), np.float32), noise(0.05, 1)])
def test_silence_fades_to_and_from_anything(sound: np.ndarray) -> None:
    assert np.isfinite(crossfade(np.zeros_like(sound), sound)).all()
    assert np.isfinite(crossfade(sound, np.zeros_like(sound))).all()


def test_the_joint_is_where_both_sounds_are_the_same() -> None:
    old = notes(5)
    new = noise(5, 3)
    same = slice(round(2.2 * RATE), round(3.8 * RATE))
    new[:, same] = old[:, same]
    joint = find_joint(new, old, RATE)
    assert 2.2 <= joint.at / RATE <= 3.8
    assert joint.match > 0.95
    assert abs(joint.level_jump) < 0.5


def test_where_all_is_the_same_the_joint_is_just_before_a_beat() -> None:
    old = notes(4)
    joint = find_joint(old, old, RATE)
    beat = round(joint.at / RATE / 0.5) * 0.5
    assert 0 < beat - joint.at / RATE < 0.03
    assert joint.match == pytest.approx(1, abs=1e-3)


def test_a_louder_old_part_is_told_in_decibels() -> None:
    old = notes(4)
    joint = find_joint(old / 2, old, RATE)
    assert joint.level_jump == pytest.approx(6, abs=0.3)
    assert joint.match < 0.6


def test_unrelated_sounds_do_not_match() -> None:
    assert find_joint(noise(4, 1), notes(4), RATE).match < 0.3


@given(st.floats(0.9, 1.5), st.integers(0, 99), st.sampled_from(["noise", "silence", "half"]))
def test_a_joint_is_within_what_can_be_compared(seconds: float, seed: int, kind: str) -> None:
    new, old = noise(seconds, seed), noise(seconds, seed + 1)
    if kind != "noise":
        new[:, : new.shape[1] // (2 if kind == "half" else 1)] = 0
    joint = find_joint(new, old, RATE)
    assert AROUND - 0.02 * RATE <= joint.at <= new.shape[1] - AROUND + 0.02 * RATE
    assert 0 <= joint.match <= 1
    assert np.isfinite(joint.level_jump)

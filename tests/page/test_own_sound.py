"""A visitor's own sound: what is picked of it at first, and what is believed of the browser."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest, UnreadableAudio
from musicgen_space.page.clip.own_sound import (
    CONTINUE,
    FOLLOW,
    NOTHING_PICKED,
    REPLACE,
    clip_fields,
    new_sounds,
    picked,
    picked_stretch,
)
from musicgen_space.request import CLIP_LIMITS
from tests.page.told import told


def ramp(seconds: float) -> Clip:
    """A sound whose samples tell where in it they are."""
    return Clip(np.linspace(0, 1, int(seconds * 1000), dtype=np.float32)[None], 1000, "riff.wav")


@pytest.mark.parametrize(
    ("use", "seconds", "stretch"),
    [
        (CONTINUE, 60, (50, 60)),
        (CONTINUE, 4, (0, 4)),
        (FOLLOW, 60, (0, 30)),
        (FOLLOW, 12, (0, 12)),
    ],
)
def test_its_end_is_continued_and_its_beginning_followed(
    use: str, seconds: float, stretch: tuple[float, float]
) -> None:
    shown = picked("key", ramp(seconds), use)
    assert (shown["from"], shown["to"]) == stretch
    limit = CLIP_LIMITS[use]
    assert (shown["least"], shown["most"]) == (limit.minimum, limit.maximum)


def test_too_short_a_sound_is_refused_in_words() -> None:
    with pytest.raises(UnreadableAudio, match=r"riff\.wav is too short: 0\.5 s"):
        picked("key", ramp(0.3), CONTINUE)


def test_what_was_done_to_the_sound_is_told_with_it() -> None:
    assert picked("key", ramp(60), CONTINUE)["note"] == ""
    loud = dataclasses.replace(ramp(60), lowered=11.13)
    assert told(picked("key", loud, CONTINUE)["note"]).startswith(
        "Its peaks were 11.1 dB above full"
    )


def test_the_waveform_is_small_however_long_the_sound() -> None:
    shown = picked("key", ramp(600), FOLLOW)
    assert len(shown["peaks"]) == 300
    assert shown["peaks"] == sorted(shown["peaks"])
    assert shown["peaks"][-1] == 100
    assert len(picked("key", Clip(np.zeros((2, 60)), 100), CONTINUE)["peaks"]) == 60


def test_the_stretch_that_was_picked_is_used() -> None:
    sounds = new_sounds()
    key = sounds.add(ramp(60))
    clip = clip_fields(sounds, {"clip": key, "from": 12, "to": 18.0}, CONTINUE)[CONTINUE]
    assert (clip.name, clip.start, clip.duration) == ("riff.wav", 12.0, 6.0)
    assert clip.samples[0, 0] == pytest.approx(0.2, abs=1e-3)
    assert clip.samples.base is None  # the rest need not stay in memory


@pytest.mark.parametrize("choice", [None, NOTHING_PICKED, {}, "text", [1]])
def test_without_a_sound_there_is_nothing_to_use(choice: object) -> None:
    assert clip_fields(new_sounds(), choice, CONTINUE) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "ends",
    [
        {"from": 5, "to": 4},
        {"from": -1, "to": 4},
        {"from": 0, "to": 61},
        {"from": float("nan"), "to": 4},
        {"from": 0, "to": float("inf")},
        {"from": "0", "to": 4},
        {"from": True, "to": 4},
        {"to": 4},
    ],
)
def test_the_browser_can_not_ask_for_what_is_no_stretch(ends: dict[str, object]) -> None:
    sounds = new_sounds()
    with pytest.raises(InvalidRequest):
        clip_fields(sounds, {"clip": sounds.add(ramp(60)), **ends}, CONTINUE)


def test_a_sound_is_for_one_of_two_things() -> None:
    sounds = new_sounds()
    choice = {"clip": sounds.add(ramp(60)), "from": 0, "to": 4}
    with pytest.raises(InvalidRequest, match="your own sound"):
        clip_fields(sounds, choice, "prompt")


def test_a_forgotten_sound_is_told_in_words() -> None:
    choice = {"clip": "../../etc/passwd", "from": 0, "to": 4}
    with pytest.raises(UnreadableAudio, match="choose it again"):
        clip_fields(new_sounds(), choice, CONTINUE)


def test_sounds_stay_apart() -> None:
    sounds = new_sounds()
    first, second = sounds.add(ramp(10)), sounds.add(dataclasses.replace(ramp(10), name="other"))
    choice = {"clip": first, "from": 0, "to": 4}
    assert clip_fields(sounds, choice, FOLLOW)[FOLLOW].name == "riff.wav"
    sounds.forget(first)
    assert sounds.get(second) is not None
    with pytest.raises(UnreadableAudio):
        clip_fields(sounds, choice, FOLLOW)


@pytest.mark.parametrize(
    ("seconds", "stretch"), [(60, (26, 34)), (10, (2.5, 7.5)), (1.6, (0.3, 1.3)), (1, (0, 1))]
)
def test_a_part_of_its_middle_is_made_anew(seconds: float, stretch: tuple[float, float]) -> None:
    shown = picked("key", ramp(seconds), REPLACE)
    assert (shown["from"], shown["to"]) == pytest.approx(stretch)
    assert (shown["least"], shown["most"]) == (1, 28)


def test_the_part_to_be_made_anew_is_one_of_the_whole_sound() -> None:
    sounds = new_sounds()
    key = sounds.add(ramp(60))
    choice = {"clip": key, "from": 12, "to": 18.0}
    stretch = picked_stretch(sounds, choice, REPLACE)
    assert stretch is not None
    assert (stretch.start, stretch.end, stretch.piece.duration) == (12, 18, 60)
    assert clip_fields(sounds, choice, REPLACE) == {}
    assert picked_stretch(sounds, choice, CONTINUE) is None
    # There is too little before it to go on from.
    nearly = picked_stretch(sounds, {**choice, "from": 0.4}, REPLACE)
    assert nearly is not None
    assert nearly.start == 0


def test_too_long_a_part_to_be_made_anew_is_refused_with_its_limit() -> None:
    sounds = new_sounds()
    choice = {"clip": sounds.add(ramp(60)), "from": 2, "to": 50.0}
    with pytest.raises(InvalidRequest, match="1 to 28 seconds after the start, 2, got 50"):
        picked_stretch(sounds, choice, REPLACE)

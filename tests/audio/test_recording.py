from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen_space.audio.files import FlacWriter
from musicgen_space.audio.recording import Recording
from musicgen_space.errors import InvalidRequest
from musicgen_space.live import Heard
from musicgen_space.request import MusicRequest

RATE = 8000


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path, RATE, 2, most_minutes=1)
    yield recording
    recording.close()


def play(recording: Recording, seconds: float, prompt: str, level: float = 0.5) -> None:
    """Pieces of a quarter second."""
    for _ in range(round(seconds * 4)):
        samples = np.full((2, RATE // 4), level, np.float32)
        recording.add(Heard(samples, RATE, recording.seconds, prompt))


def test_the_last_seconds_are_a_take_with_its_prompts_in_turn(recording: Recording) -> None:
    play(recording, 4, "lullaby", 0.1)
    play(recording, 2, "house", 0.2)
    play(recording, 3, "jazz", 0.3)
    like = MusicRequest("jazz", seed=7, temperature=1.2)
    take = recording.take(4, like, "local", "nano")
    assert take.request.prompt == "house → jazz"
    assert (take.request.seed, take.request.temperature, take.request.duration) == (7, 1.2, 4)
    assert take.samples.shape == (2, 4 * RATE)
    assert take.samples[1, RATE - 1] == pytest.approx(0.2, abs=1e-4)
    assert take.samples[0, RATE] == pytest.approx(0.3, abs=1e-4)
    assert recording.take(30, like, "local", "nano").duration == 9


def test_a_take_needs_a_second_and_its_length_is_bounded(recording: Recording) -> None:
    play(recording, 0.5, "jazz")
    with pytest.raises(InvalidRequest, match=r"0\.5 s were heard so far"):
        recording.take(30, MusicRequest("jazz"), "local", "nano")
    with pytest.raises(InvalidRequest, match="seconds must be a number from 1 to 300"):
        recording.latest(301)


def test_only_five_minutes_stay_in_memory_and_the_file_ends_at_its_limit(
    recording: Recording,
) -> None:
    play(recording, 310, "jazz", 0.1)
    assert recording.latest(300).shape == (2, 300 * RATE)
    assert sum(part.shape[1] for part in recording._last) < 301 * RATE
    assert (recording.seconds, recording.recorded) == (310, 60)
    assert soundfile.info(recording.flac()).duration == 60


def test_the_file_grows_while_the_music_plays(recording: Recording, tmp_path: Path) -> None:
    def size() -> int:
        return sum(file.stat().st_size for file in tmp_path.rglob("*.flac"))

    noise = np.random.default_rng(1).uniform(-1, 1, (2, 4 * RATE)).astype(np.float32)
    recording.add(Heard(noise, RATE, 0.0, "jazz"))
    before = size()
    recording.add(Heard(noise, RATE, 4.0, "jazz"))
    assert before > RATE
    assert size() > before + RATE


def test_all_so_far_is_a_file_as_often_as_it_is_asked_for(recording: Recording) -> None:
    with pytest.raises(InvalidRequest, match="some sound first"):
        recording.flac()
    levels = (0.1, 0.2, 0.3)
    for count, level in enumerate(levels, 1):
        play(recording, 1, "jazz", level)
        samples, rate = soundfile.read(recording.flac(), dtype="float32")
        assert (rate, samples.shape) == (RATE, (count * RATE, 2))
        expected = np.repeat(np.array(levels[:count], np.float32), RATE)
        assert np.abs(samples[:, 0] - expected).max() < 1e-4


def test_closing_leaves_only_what_was_asked_for(recording: Recording, tmp_path: Path) -> None:
    play(recording, 1, "jazz")
    taken = recording.flac()
    play(recording, 1, "jazz")
    recording.close()
    recording.close()
    assert [*tmp_path.iterdir()] == [taken]


def test_a_full_disk_ends_the_recording_but_not_the_music(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(recording, 2, "jazz")

    def full(writer: FlacWriter, samples: np.ndarray) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FlacWriter, "write", full)
        play(recording, 1, "jazz")
    play(recording, 1, "jazz")
    assert (recording.seconds, recording.recorded) == (4, 2)
    assert soundfile.info(recording.flac()).duration == 2
    assert recording.latest(30).shape == (2, 4 * RATE)


def test_without_a_place_for_the_file_the_music_goes_on(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "nowhere", RATE, 2)
    play(recording, 2, "jazz")
    assert recording.recorded == 0
    assert recording.latest(30).shape == (2, 2 * RATE)
    with pytest.raises(InvalidRequest, match="some sound first"):
        recording.flac()
    recording.close()


def test_the_cue_sheet_says_when_which_prompt_was_heard(tmp_path: Path) -> None:
    recording = Recording(tmp_path, RATE, 2)
    play(recording, 62.5, "a “quiet” lullaby")
    play(recording, 0.25, "typed halfw")
    play(recording, 2, 'house, "deep"')
    assert recording.prompts == [(0.0, "a “quiet” lullaby"), (62.5, 'house, "deep"')]
    assert recording.cue_sheet("live.flac") == (
        'FILE "live.flac" WAVE\n'
        "  TRACK 01 AUDIO\n"
        '    TITLE "a “quiet” lullaby"\n'
        "    INDEX 01 00:00:00\n"
        "  TRACK 02 AUDIO\n"
        "    TITLE \"house, 'deep'\"\n"
        "    INDEX 01 01:02:38\n"
    )
    recording.close()


def test_a_cue_sheet_has_no_more_tracks_than_players_read(recording: Recording) -> None:
    for number in range(110):
        play(recording, 0.5, f"prompt {number}")
    sheet = recording.cue_sheet("live.flac")
    assert sheet.count("TRACK") == 99
    assert "INDEX 01 00:49:00" in sheet

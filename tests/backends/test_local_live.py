"""Live music beside takes, on the backend's one worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen_space.backends.base import Loading, Waiting
from musicgen_space.backends.local.backend import LocalBackend
from musicgen_space.backends.segmind.backend import SegmindBackend
from musicgen_space.clip import Clip
from musicgen_space.errors import BackendError, LiveFull, LiveOver, UnreadableAudio
from musicgen_space.key import ApiKey
from musicgen_space.live import Heard, LiveControls, LiveWish
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings
from musicgen_space.take import Take


@pytest.fixture
def backend(tiny_folder: Path) -> Iterator[LocalBackend]:
    backend = LocalBackend(Settings(models=(str(tiny_folder),), at_once=2))
    yield backend
    backend.close()


def controls(folder: Path, prompt: str = "jazz", **fields: Any) -> LiveControls:
    return LiveControls(LiveWish(MusicRequest(prompt, model=str(folder), **fields)))


def heard(backend: LocalBackend, held: LiveControls, visitor: str = "") -> Iterator[Heard]:
    """What is heard; each piece is fetched at once."""
    for update in backend.live(held, visitor):
        if isinstance(update, Heard):
            held.fetched = update.start + update.samples.shape[-1] / update.sample_rate
            yield update


def is_free(backend: LocalBackend) -> bool:
    return backend._batch is None or not backend._batch.busy


def test_live_music_plays_follows_a_wish_and_stops(
    backend: LocalBackend, tiny_folder: Path
) -> None:
    held = controls(tiny_folder)
    pieces = []
    for piece in heard(backend, held):
        pieces.append(piece)
        if len(pieces) == 3:
            held.steer(prompt="techno", change="arrive")
        if piece.prompt == "techno":
            held.stop()
    prompts = [piece.prompt for piece in pieces]
    assert prompts[0] == "jazz"
    assert prompts[-1] == "techno"
    assert prompts == sorted(prompts)
    assert is_free(backend)


def test_whoever_goes_away_leaves_the_machine_free(
    backend: LocalBackend, tiny_folder: Path
) -> None:
    playing = heard(backend, controls(tiny_folder))
    next(playing)
    playing.close()  # type: ignore[attr-defined]
    request = MusicRequest("jazz", model=str(tiny_folder), duration=1)
    *_, take = backend.generate(request, threading.Event())
    assert isinstance(take, Take)
    assert is_free(backend)


def test_a_take_is_made_beside_live_music_and_is_what_it_is_alone(
    backend: LocalBackend, tiny_folder: Path
) -> None:
    request = MusicRequest("funk", model=str(tiny_folder), duration=2)
    *_, alone = backend.generate(request, threading.Event())
    held = controls(tiny_folder)
    playing = heard(backend, held)
    next(playing)
    beside = [*backend.generate(request, threading.Event())]
    assert not any(isinstance(update, Waiting) for update in beside)
    assert isinstance(alone, Take)
    assert isinstance(beside[-1], Take)
    assert np.array_equal(alone.samples, beside[-1].samples)
    held.stop()
    assert all(isinstance(piece, Heard) for piece in playing)


def test_as_many_play_as_may_and_no_more(tiny_folder: Path) -> None:
    backend = LocalBackend(Settings(models=(str(tiny_folder),), live_sessions=2))
    try:
        playing = [heard(backend, controls(tiny_folder)) for _ in range(2)]
        for each in playing:
            next(each)
        with pytest.raises(LiveFull, match="2 are playing"):
            next(heard(backend, controls(tiny_folder)))
        playing[0].close()  # type: ignore[attr-defined]
        next(heard(backend, controls(tiny_folder)))
    finally:
        backend.close()


def test_a_stranger_plays_once(tiny_folder: Path) -> None:
    backend = LocalBackend(Settings(models=(str(tiny_folder),), host="0.0.0.0"))
    try:
        first = heard(backend, controls(tiny_folder), "somebody")
        next(first)
        with pytest.raises(LiveFull, match="stop that first"):
            next(heard(backend, controls(tiny_folder), "somebody"))
        next(heard(backend, controls(tiny_folder), "somebody else"))
    finally:
        backend.close()


def test_live_music_ends_when_its_time_is_up(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LocalBackend(Settings(models=(str(tiny_folder),), live_minutes=0))
    try:
        with pytest.raises(LiveOver, match="ends after 0 minutes"):
            for _ in heard(backend, controls(tiny_folder)):
                pass
    finally:
        backend.close()


def test_another_model_waits_until_the_music_is_over(
    backend: LocalBackend, tiny_folder: Path
) -> None:
    held = controls(tiny_folder)
    playing = heard(backend, held)
    next(playing)
    other = LiveControls(LiveWish(MusicRequest("jazz", model="musicgen-nano")))
    waiting = backend.live(other)
    assert next(waiting) == Waiting(1)
    held.stop()
    for update in waiting:
        if isinstance(update, Heard):
            break
        assert isinstance(update, Loading)
    waiting.close()  # type: ignore[attr-defined]


def test_a_clip_of_silence_is_refused_before_it_plays(
    backend: LocalBackend, tiny_folder: Path
) -> None:
    silence = Clip(np.zeros((1, 64_000), np.float32), 32_000)
    with pytest.raises(UnreadableAudio):
        next(heard(backend, controls(tiny_folder, continue_from=silence)))


def test_what_plays_no_live_music_says_so() -> None:
    backend = SegmindBackend(ApiKey("k"), base_url="https://api.segmind.com")
    assert not backend.plays_live
    with pytest.raises(BackendError, match="Live music can't be made on Segmind"):
        next(iter(backend.live(LiveControls(LiveWish(MusicRequest("jazz"))))))

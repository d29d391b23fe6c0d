"""A stretch of a piece is made anew; the rest of it stays as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.audio.files import encode, read_piece, read_take
from musicgen_space.audio.joint import FADE_SECONDS
from musicgen_space.audio.resample import convert
from musicgen_space.backends.base import Backend, Chunk, ModelChoice, Progress, Update
from musicgen_space.backends.stretch import Stretch, replaced
from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest, UnreadableAudio
from musicgen_space.request import MusicRequest
from musicgen_space.take import Finish, Replaced, Take

RATE = 32_000


class Band(Backend):
    """Continues a clip with noise of its own, at 32 kHz in mono; ``made`` seconds at most."""

    name, label, about = "band", "The band", "plays anything"
    knobs = frozenset(MusicRequest.__dataclass_fields__)

    def __init__(self, made: float = 300.0) -> None:
        self.asked: list[MusicRequest] = []
        self._made = made

    def models(self) -> list[ModelChoice]:
        return [ModelChoice("band", "loud")]

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        self.asked.append(request)
        clip = request.continue_from
        given = np.zeros((1, 0), np.float32) if clip is None else convert(clip, RATE, 1)
        seconds = min(request.duration, self._made)
        yield Progress(seconds, request.duration, 0.1)
        for index in range(request.variations):
            wish = request.variation(index)
            new = sound(seconds, wish.seed)
            samples = np.concatenate([given, new], axis=1)
            yield Chunk(samples, RATE, index)
            yield Take(samples, RATE, wish, self.name, "band", 0.1, stopped=seconds < wish.duration)


def sound(seconds: float, seed: int, rate: int = RATE, channels: int = 1) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(0, 0.1, (channels, round(seconds * rate)))
    return samples.astype(np.float32)


def piece(seconds: float = 12.0) -> Take:
    return Take(sound(seconds, 99), RATE, MusicRequest("slow jazz", seed=5), "local", "nano", 3.0)


def made(stretch: Stretch, backend: Backend | None = None, **wish: Any) -> list[Take]:
    request = MusicRequest(**{"prompt": "drums", **wish})
    updates = replaced(backend or Band(), stretch, request, threading.Event())
    return [update for update in updates if isinstance(update, Take)]


@st.composite
def stretches(draw: st.DrawFn) -> Stretch:
    """Of pieces of any rate, one or two channels and any length."""
    rate = draw(st.sampled_from([8_000, 11_025, 32_000, 44_100]))
    seconds = draw(st.floats(1.0, 8.0))
    clip = Clip(sound(seconds, 1, rate, draw(st.integers(1, 2))), rate, "song.wav")
    start = draw(st.just(0.0) | st.floats(0.5, max(0.5, clip.duration - 1)))
    longest = min(28.0, clip.duration - start)
    if longest < 1:
        return Stretch(clip, 0, min(28.0, clip.duration))
    return Stretch(clip, start, start + draw(st.floats(1.0, longest)))


@given(stretches())
def test_outside_of_the_stretch_nothing_changes_and_it_stays_as_long(stretch: Stretch) -> None:
    (take,) = made(stretch)
    old, new, rate = stretch.source.samples, take.samples, take.sample_rate
    assert (new.shape, new.dtype, rate) == (old.shape, np.float32, stretch.source.sample_rate)
    assert np.isfinite(new).all()
    first, last = round(stretch.start * rate), round((stretch.end + 2) * rate)
    assert np.array_equal(new[:, :first], old[:, :first])
    assert np.array_equal(new[:, last:], old[:, last:])
    facts = take.replaced
    assert facts is not None
    if facts.joint is not None:
        assert abs(facts.joint - stretch.end) <= 2
        at = round((facts.joint + 0.001) * rate)
        assert np.array_equal(new[:, at:], old[:, at:])
        until = round((facts.joint - FADE_SECONDS - 0.001) * rate)
    else:
        until = new.shape[1]
    inside = slice(round((stretch.start + FADE_SECONDS) * rate), until)
    assert (new[:, inside] != old[:, inside]).mean() > 0.99


def test_what_is_new_is_what_the_model_made_in_its_place() -> None:
    (take,) = made(Stretch(piece(), 4, 7), seed=3)
    first, last = round((4 + FADE_SECONDS) * RATE), round(5.3 * RATE)
    assert np.array_equal(take.samples[:, first:last], sound(6, 3)[:, : last - first])


def test_the_model_hears_what_is_before_the_stretch_and_makes_more_than_it() -> None:
    band = Band()
    made(Stretch(piece(60), 40, 46), band)
    (asked,) = band.asked
    clip = asked.continue_from
    assert clip is not None
    assert (clip.name, clip.duration) == ("slow jazz", 21.0)  # with what is made, one window
    assert np.array_equal(clip.samples, piece(60).samples[:, clip_of(40.08 - 21, 40.08)])
    assert 46 + 2 < 40.08 + asked.duration < 46 + 3


def clip_of(start: float, end: float) -> slice:
    return slice(round(start * RATE), round(end * RATE))


def test_the_beginning_is_made_anew_from_nothing() -> None:
    band = Band()
    (take,) = made(Stretch(piece(), 0, 4), band, seed=3)
    assert band.asked[0].continue_from is None
    assert np.array_equal(take.samples[:, :RATE], sound(6, 3)[:, :RATE])


def test_the_end_is_made_anew_without_a_joint() -> None:
    (take,) = made(Stretch(piece(), 8, 12))
    assert take.replaced == Replaced("slow jazz", digest(), 8, 12)
    assert not np.array_equal(take.samples[:, -RATE:], piece().samples[:, -RATE:])


def digest() -> str:
    return Clip(piece().samples, RATE).digest


def test_the_best_joint_comes_first_and_all_are_told_apart_by_their_seeds() -> None:
    takes = made(Stretch(piece(), 4, 8), variations=4, seed=7)
    matches = [take.replaced.match for take in takes if take.replaced]
    assert len(matches) == 4
    assert matches == sorted(matches, reverse=True)
    assert {take.request.seed for take in takes} == {7, 8, 9, 10}


def test_the_same_seed_gives_the_same_samples() -> None:
    one, again, other = (made(Stretch(piece(), 4, 8), seed=seed)[0].samples for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_take_tells_what_was_made_anew_and_by_which_words() -> None:
    piece_before = replace(piece(), finish=Finish(fade_in=1))
    (take,) = made(Stretch(piece_before, 4, 8.5), prompt="drums")
    assert take.replaced is not None
    assert (take.replaced.name, take.replaced.digest) == ("slow jazz", digest())
    assert (take.replaced.start, take.replaced.end) == (4, 8.5)
    assert (take.request.prompt, take.request.duration) == ("drums", 4.5)
    assert (take.backend, take.model, take.stopped) == ("band", "band", False)
    assert take.finish == Finish(fade_in=1)
    assert take.real_time_factor == pytest.approx(45)


def test_where_a_piece_went_on_from_a_clip_is_still_known() -> None:
    clip = Clip(sound(3, 1), RATE, "riff.wav")
    continued = replace(piece(), request=MusicRequest("jazz", continue_from=clip), clips={})
    assert continued.given_seconds == 3
    (take,) = made(Stretch(continued, 5, 8))
    assert take.given_seconds == 3


def test_a_file_tells_what_was_made_anew_in_it(tmp_path: Path) -> None:
    (take,) = made(Stretch(piece(), 4, 8))
    take.save(tmp_path / "new.flac")
    read = read_piece(tmp_path / "new.flac")
    assert isinstance(read, Take)
    assert read.replaced == take.replaced


@pytest.mark.parametrize(
    ("change", "value"),
    [("match", 7), ("joint", "soon"), ("start", None), ("name", 1), ("sound", "loud")],
)
def test_somebody_elses_facts_make_no_take(
    change: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    (take,) = made(Stretch(piece(), 4, 8))
    facts = {"name": "a", "digest": "b", "start": 4, "end": 8, "joint": 8.2, "match": 0.5}
    told = {"prompt": "jazz", "replaced": facts}
    monkeypatch.setattr("musicgen_space.audio.files.settings_of", lambda _: told)
    assert read_take(encode(take, "flac")) is not None
    facts[change] = value  # type: ignore[assignment]
    assert read_take(encode(take, "flac")) is None


def test_progress_is_told_and_nothing_is_played_before_the_end_is_found() -> None:
    updates = [*replaced(Band(), Stretch(piece(), 4, 8), MusicRequest("a"), threading.Event())]
    assert [type(update) for update in updates] == [Progress, Take]


@pytest.mark.parametrize(("made_seconds", "takes"), [(1.0, 0), (2.5, 0), (5.0, 1)])
def test_what_was_stopped_before_its_end_is_nothing(made_seconds: float, takes: int) -> None:
    assert len(made(Stretch(piece(), 4, 8), Band(made_seconds))) == takes
    assert not made(Stretch(piece(), 8, 12), Band(3.0))


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (0.3, 4, "start must be 0, or at least 0.5 seconds, to go on from those, got 0.3"),
        (-1, 4, "start must be a number from 0 to 12 seconds, got -1"),
        (4, 12.5, "end must be a number from 0 to 12 seconds, got 12.5"),
        ("4", 8, "start must be a number from 0 to 12 seconds, got '4'"),
        (4, 4.9, "end must be 1 to 28 seconds after the start, 4, got 4.9"),
        (8, 4, "end must be 1 to 28 seconds after the start, 8, got 4.0"),
    ],
)
def test_a_stretch_beyond_its_limits_is_told_by_field_value_and_limit(
    start: Any, end: Any, message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Stretch(piece(), start, end)
    assert str(caught.value) == f"{message}."


def test_too_long_a_stretch_and_too_many_channels_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="end must be 1 to 28 seconds after the start, 1,"):
        Stretch(piece(60), 1, 29.5)
    with pytest.raises(InvalidRequest, match="piece must have one or two channels, got '3 chann"):
        Stretch(Clip(sound(5, 1, RATE, 3), RATE), 1, 3)


class Deaf(Band):
    name, label = "deaf", "The deaf band"
    knobs = frozenset({"prompt", "duration", "seed"})


def test_a_backend_that_continues_nothing_is_told_before_it_works() -> None:
    deaf = Deaf()
    with pytest.raises(InvalidRequest, match="continue_from can't be chosen on The deaf band"):
        made(Stretch(piece(), 4, 8), deaf)
    assert not deaf.asked
    assert made(Stretch(piece(), 0, 4), deaf)


def test_no_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(UnreadableAudio, match="can't be opened"):
        read_piece(tmp_path / "none.wav")

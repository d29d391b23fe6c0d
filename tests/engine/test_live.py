"""Live music: it goes on without a seam, follows what is wished, and leaves nothing behind."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from musicgen_space.clip import Clip
from musicgen_space.engine.live import passage as passages
from musicgen_space.engine.live import session
from musicgen_space.engine.live.listener import Listener, Speed
from musicgen_space.engine.live.listening import moved
from musicgen_space.engine.live.passage import Passage
from musicgen_space.engine.live.session import Live
from musicgen_space.engine.live.transition import arrive
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.scheduler.events import Made
from musicgen_space.engine.scheduler.scheduler import Scheduler
from musicgen_space.live import Heard, LiveWish
from musicgen_space.request import MusicRequest
from tests.engine.test_memory import MEGABYTE, allocated
from tests.engine.test_scheduler import Broken, heard_alone, sounds

RATE = 32_000
WISH = LiveWish(MusicRequest("jazz", seed=3))


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few seconds are made in several windows, and all is decided soon."""
    monkeypatch.setattr(passages, "WINDOW_SECONDS", 3)
    monkeypatch.setattr(passages, "_AGAINST_SECONDS", 1.0)
    monkeypatch.setattr(session, "_SHARED_MIN", 1.0)
    monkeypatch.setattr(session, "_SHARED_MAX", 1.0)
    monkeypatch.setattr(session, "_CONTEXT_SECONDS", 2.0)
    monkeypatch.setattr(session, "_INTRODUCTION_SECONDS", 1.0)


@pytest.fixture
def all_codes_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are drawn before the first are decoded."""
    monkeypatch.setattr(Passage, "_forget", lambda _: None)


class Clock:
    """Time that stands still but for ``tick``."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """A session of ``wish`` with whoever hears it; a step takes 2 ms, at first.

    Time stands still while other threads work, so that how much is ahead is always the same.
    """

    def __init__(self, model: MusicGen, wish: LiveWish = WISH, ahead: float = 1.0) -> None:
        self.clock, self.step_seconds = Clock(), 0.002
        self.scheduler = Scheduler(model, clock=self.clock, patience=0.001)
        self.live = Live(self.scheduler, model, wish, ahead=ahead, clock=self.clock)
        self.pieces: list[Heard] = []

    def step(self) -> list[Heard]:
        self.live.prepare()
        events = self.scheduler.step()
        self.scheduler._codec.submit(math.inf, lambda: np.empty(0)).result()
        self.scheduler._preparing.submit(lambda: None).result()
        self.clock.now += self.step_seconds
        pieces = [*self.live.hear(events)]
        self.pieces += pieces
        self.live.fetched(self.seconds)
        return pieces

    def play(self, until: Callable[[], bool]) -> None:
        while not until():
            self.step()

    def play_to(self, seconds: float) -> None:
        self.play(lambda: self.seconds >= seconds)

    @property
    def seconds(self) -> float:
        return self.samples / RATE

    @property
    def samples(self) -> int:
        return sum(piece.samples.shape[-1] for piece in self.pieces)

    @property
    def sound(self) -> np.ndarray:
        return np.concatenate([piece.samples for piece in self.pieces], axis=-1)

    @property
    def passage(self) -> Passage:
        [making] = self.live.makings
        assert isinstance(making.generation, Passage)
        return making.generation


@pytest.fixture
def stage(tiny: MusicGen) -> Iterator[Stage]:
    made = Stage(tiny)
    with made.scheduler:
        yield made


@pytest.mark.usefixtures("all_codes_kept")
def test_it_goes_on_over_windows_as_one_sound(tiny: MusicGen, stage: Stage) -> None:
    """All that is heard is what one codec makes of all codes: nothing is missing or twice."""
    stage.play_to(3.4)
    starts = np.cumsum([0, *(piece.samples.shape[-1] for piece in stage.pieces)])[:-1] / RATE
    assert np.allclose([piece.start for piece in stage.pieces], starts)
    codes = stage.passage.between(0, stage.passage.frames)
    whole = tiny.codec.stream().push(codes, last=True).numpy()
    assert np.allclose(stage.sound, whole[:, : stage.samples], atol=1e-5)


def test_no_more_is_told_than_so_many_seconds_ahead(tiny: MusicGen) -> None:
    stage = Stage(tiny, ahead=0.5)
    with stage.scheduler:
        stage.play(lambda: bool(stage.pieces))
        began = stage.clock.now
        for _ in range(1500):
            stage.step()
            assert stage.seconds <= stage.clock.now - began + 0.5 + 0.01
        assert stage.seconds > 2  # and yet it never runs dry
        assert stage.seconds >= stage.clock.now - began


def test_a_listener_who_stops_reading_stops_the_work(tiny: MusicGen) -> None:
    stage = Stage(tiny)
    with stage.scheduler:
        stage.play_to(2)
        stage.live.fetched = lambda _: None  # type: ignore[method-assign]
        for _ in range(1000):
            stage.step()
        heard, steps = stage.samples, stage.live.makings[0].steps
        for _ in range(500):
            stage.step()
        assert (heard, steps) == (stage.samples, stage.live.makings[0].steps)


def test_sound_stays_in_order_whenever_it_is_due(tiny: MusicGen) -> None:
    """A listener who falls behind makes what comes later more urgent than what comes before."""
    passage, dues, free = Passage(tiny, WISH, 1), itertools.count(0, -1), threading.Event()
    pieces: list[np.ndarray] = []
    with Scheduler(tiny, patience=0.001) as scheduler:
        scheduler._codec.submit(-math.inf, lambda: np.zeros(free.wait()))
        making = scheduler.begin(lambda: passage)
        making.due_at = lambda: next(dues)
        while sum(piece.shape[-1] for piece in pieces) < RATE:
            pieces += [each.piece.samples for each in scheduler.step() if isinstance(each, Made)]
            if passage.frames > 70:
                making.paused = True
                free.set()
    sound = np.concatenate(pieces, axis=-1)[0]
    whole = tiny.codec.stream().push(passage.between(0, passage.frames), last=True).numpy()
    assert np.allclose(sound, whole[:, : sound.shape[-1]], atol=1e-5)


def test_numbers_change_at_once_in_the_passage_that_plays(tiny: MusicGen, stage: Stage) -> None:
    stage.play_to(1)
    playing = stage.live.makings
    stage.live.steer(WISH.steered(temperature=0.1, top_k=1))
    stage.play_to(4)
    assert stage.live.makings == playing
    other = Stage(tiny)
    with other.scheduler:
        other.play_to(4)
    assert not np.array_equal(stage.sound[:, -RATE:], other.sound[:, -RATE:])
    assert np.array_equal(stage.sound[:, : RATE // 2], other.sound[:, : RATE // 2])


@pytest.mark.parametrize("change", ["evolve", "arrive"])
def test_another_prompt_is_heard_within_two_seconds(stage: Stage, change: str) -> None:
    stage.play_to(3)
    wished = stage.clock.now
    stage.live.steer(WISH.steered(prompt="techno", change=change))
    stage.play(lambda: stage.pieces[-1].prompt == "techno")
    ahead = stage.pieces[-1].start - (3 - 1)  # of what they heard when they wished it
    assert ahead < 2
    assert stage.clock.now - wished < 1.5
    on_its_way = [piece.coming for piece in stage.pieces if piece.coming]
    assert set(on_its_way) <= {"techno"}
    assert stage.pieces[-1].coming is None
    assert len(stage.live.makings) == 1


@pytest.mark.parametrize("change", ["evolve", "arrive", "auto"])
def test_a_machine_that_does_not_keep_up_can_be_steered(stage: Stage, change: str) -> None:
    """Nothing is ever ahead there."""
    stage.step_seconds = 0.025
    stage.play_to(3)
    wished = stage.clock.now
    stage.live.steer(WISH.steered(prompt="techno", change=change))
    stage.play(lambda: stage.pieces[-1].prompt == "techno" or stage.clock.now > wished + 5)
    assert stage.pieces[-1].prompt == "techno"


def test_what_evolves_begins_with_what_was_heard(tiny: MusicGen, stage: Stage) -> None:
    """Both decode the same codes there, so nothing can be heard of the seam."""
    stage.play_to(3)
    unsteered = Stage(tiny)
    with unsteered.scheduler:
        unsteered.play_to(4)
    stage.live.steer(WISH.steered(prompt="techno", change="evolve"))
    stage.play(lambda: stage.pieces[-1].prompt == "techno")
    seam = round(stage.pieces[-1].start * RATE)
    both = slice(seam - RATE // 10, seam)
    assert np.allclose(stage.sound[:, both], unsteered.sound[:, both], atol=1e-3)
    joint = stage.sound[:, seam - 200 : seam + 2000]
    usual = np.abs(np.diff(stage.sound[:, seam - 2 * RATE : seam])).max()
    assert np.abs(np.diff(joint)).max() < 1.5 * usual


def test_what_arrives_is_what_the_prompt_gives_alone(tiny: MusicGen, stage: Stage) -> None:
    stage.play_to(3)
    stage.live.steer(WISH.steered(prompt="techno", change="arrive"))
    stage.play(lambda: stage.pieces[-1].prompt == "techno")
    stage.play_to(stage.seconds + 2)
    fresh = Stage(tiny, replace(WISH, request=MusicRequest("techno", seed=4)))
    with fresh.scheduler:
        fresh.play_to(4)
    end = stage.sound[0, -RATE // 4 :]
    windows = np.lib.stride_tricks.sliding_window_view(fresh.sound[0], len(end))[::1]
    found = np.flatnonzero(np.isclose(windows[:, 0], end[0]) & np.isclose(windows[:, -1], end[-1]))
    assert any(np.array_equal(windows[at], end) for at in found)


@pytest.mark.parametrize(("follows", "texts"), [(1.0, "evolved"), (0.0, "arrived")])
def test_it_evolves_only_where_that_can_be_heard(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, follows: float, texts: str
) -> None:
    monkeypatch.setattr(session, "moved", lambda *_: follows)
    monkeypatch.setattr(session, "_BOTH_WAYS", 0.0)
    monkeypatch.setattr(session, "_DECIDED_SECONDS", 60.0)
    monkeypatch.setattr(Speed, "known", 10.0)
    stage.play_to(3)
    stage.live.steer(WISH.steered(prompt="techno"))
    assert len(stage.live.makings) == 3
    stage.play(lambda: stage.pieces[-1].prompt == "techno")
    assert (stage.passage.known > 0) == (texts == "evolved")


def test_where_there_is_no_time_to_try_both_the_new_arrives(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Speed, "known", 1.1)
    stage.play_to(3)
    stage.live.steer(WISH.steered(prompt="techno"))
    assert len(stage.live.makings) == 2
    stage.play(lambda: stage.pieces[-1].prompt == "techno")
    assert stage.passage.known == 0


def test_a_beginning_of_next_to_nothing_is_made_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some music fades in for seconds, which would be a hole where it is to take over."""
    stage.play_to(2)
    monkeypatch.setattr(session, "_FAINT", 10.0)  # all is too faint
    stage.live.steer(WISH.steered(prompt="techno", change="arrive"))
    tried = set()
    while stage.pieces[-1].prompt == "jazz":
        stage.step()
        tried |= {*stage.live.makings}
    assert len(tried) == 1 + 3


def test_the_last_of_many_wishes_counts(stage: Stage) -> None:
    stage.play_to(2)
    for prompt in ("techno", "rain", "a lullaby", "funk"):
        stage.live.steer(stage.live.wish.steered(prompt=prompt))
        stage.step()
    stage.play(lambda: stage.pieces[-1].prompt == "funk")
    assert {piece.prompt for piece in stage.pieces} == {"jazz", "funk"}
    assert len(stage.live.makings) == 1


def test_a_wish_before_there_is_sound_is_what_begins(stage: Stage) -> None:
    stage.live.steer(WISH.steered(prompt="techno"))
    stage.play_to(1)
    assert {piece.prompt for piece in stage.pieces} == {"techno"}


def test_a_second_prompt_is_crossfaded_to_by_a_number(stage: Stage) -> None:
    stage.play_to(2)
    stage.live.steer(WISH.steered(blend_prompt="techno"))
    stage.play(lambda: stage.passage.rows == 3 if len(stage.live.makings) == 1 else False)
    playing = stage.live.makings
    stage.live.steer(stage.live.wish.steered(balance=1.0))
    stage.play_to(stage.seconds + 2)
    assert stage.live.makings == playing


def test_one_that_can_not_take_over_leaves_the_music_as_it_is(tiny: MusicGen) -> None:
    decoder = Broken(tiny, MemoryError)
    stage = Stage(replace(tiny, decoder=decoder))
    with stage.scheduler:
        stage.play_to(2)
        playing = stage.live.makings
        stage.live.steer(WISH.steered(prompt="techno", change="arrive"))
        [arriving] = set(stage.live.makings) - set(playing)
        stage.play(lambda: arriving.steps > 0)
        decoder.broken.add(arriving.sequence.state)
        stage.play_to(stage.seconds + 2)
        assert stage.live.makings == playing
        assert stage.pieces[-1].prompt == "jazz"


@pytest.mark.usefixtures("all_codes_kept")
def test_the_music_goes_on_from_a_clip_whose_end_is_heard(tiny: MusicGen) -> None:
    clip = Clip(0.3 * np.sin(np.arange(6 * RATE) / 20)[None].astype(np.float32), RATE)
    stage = Stage(tiny, replace(WISH, request=replace(WISH.request, continue_from=clip)))
    with stage.scheduler:
        stage.play_to(1.5)
        assert stage.passage.known == 100
        codes = stage.passage.between(stage.passage.decoded_from, stage.passage.frames)
        whole = tiny.codec.stream().push(codes, last=True).numpy()
        assert np.allclose(stage.sound, whole[:, : stage.samples], atol=1e-5)


def test_ten_minutes_hold_no_more_than_five(tiny: MusicGen) -> None:
    """No sound is kept that was heard, and no codes but those of the windows to come."""
    told, held = 0.0, []
    with Scheduler(tiny, patience=0.001) as scheduler:
        live = Live(scheduler, tiny, WISH, ahead=1.0, clock=None)
        while told < 600:
            live.prepare()
            for piece in live.hear(scheduler.step()):
                assert piece.start == pytest.approx(told, abs=1e-3)
                told = piece.start + piece.samples.shape[-1] / RATE
                live.fetched(told)
                if told > 100 * (len(held) + 1):
                    held.append(allocated())
                    prompt = "techno" if len(held) % 2 else "jazz"
                    live.steer(live.wish.steered(prompt=prompt))
        live.close()
    assert held[-1] - held[2] < 2 * MEGABYTE


def test_a_take_beside_it_is_what_it_is_alone(tiny: MusicGen, stage: Stage) -> None:
    stage.play_to(1)
    request = MusicRequest("funk", duration=2, seed=8)
    making = stage.scheduler.add(request)
    events = []
    stage.live.steer(WISH.steered(prompt="techno"))
    while making.generation.total != making.generation.frames if making.steps else True:
        stage.live.prepare()
        told = stage.scheduler.step()
        stage.clock.now += 0.002
        events += told
        stage.pieces += stage.live.hear(told)
        stage.live.fetched(stage.seconds)
    stage.live.close()
    while stage.scheduler.busy:
        events += stage.scheduler.step()
    assert np.array_equal(sounds(events)[making], heard_alone(tiny, request))


def test_nothing_is_left_of_it_when_it_is_closed(stage: Stage) -> None:
    stage.play_to(2)
    stage.live.steer(WISH.steered(prompt="techno", change="arrive"))
    stage.step()
    stage.live.close()
    assert not stage.scheduler.busy


# What it is made of.


def clicks(*seconds: float, length: float = 0.6) -> np.ndarray:
    """A quiet tone with loud clicks."""
    samples = 0.001 * np.sin(np.arange(round(length * RATE)) / 9)
    for second in seconds:
        start = round(second * RATE)
        samples[start : start + 400] += (
            0.5 * np.hanning(400) * np.random.default_rng(1).normal(size=400)
        )
    return samples[None].astype(np.float32)


def test_an_arrival_has_its_first_beat_on_a_beat_of_the_old() -> None:
    old, new = clicks(0.3), clicks(0.2, 0.5, length=1.5)
    joined, start = arrive(old, new, RATE)
    assert abs(start / RATE - (0.3 - 0.2)) < 0.02
    assert np.allclose(joined[:, : RATE // 20], old[:, : RATE // 20])  # what was heard goes on
    assert np.allclose(joined[:, -RATE // 2 :], new[:, -RATE // 2 :])
    assert np.abs(joined).max() <= 1


def test_an_arrival_of_silence_or_into_silence_makes_no_noise() -> None:
    silence = np.zeros((2, RATE), np.float32)
    joined, _ = arrive(silence[:, : RATE // 2], silence, RATE)
    assert not joined.any()


def test_how_far_a_sound_has_moved_is_heard() -> None:
    time = np.arange(RATE) / RATE
    low, high = (0.3 * np.sin(2 * np.pi * pitch * time)[None] for pitch in (110, 3000))
    assert moved(low, low, high, RATE) == pytest.approx(0, abs=0.05)
    assert moved(low, high, high, RATE) == pytest.approx(1, abs=0.05)
    assert 0.2 < moved(low, low + high, high, RATE) < 0.9
    assert moved(low, high, low, RATE) == 1.0  # no way to go


def test_a_listener_waits_where_there_is_no_more() -> None:
    clock = Clock()
    listener = Listener(clock, 100)
    assert listener.position(0) == 0
    listener.fetched = 50
    assert listener.position(50) == 0
    clock.now = 0.2
    assert listener.position(50) == 20
    clock.now = 2.0  # it ran dry long ago
    assert listener.position(50) == 50
    listener.fetched = 80
    clock.now = 2.1
    assert listener.position(80) == 60


def test_a_listener_who_says_where_they_are_is_believed() -> None:
    clock = Clock()
    listener = Listener(clock, 100)
    listener.fetched = 500
    assert listener.position(500) == 0
    clock.now = 3.0
    listener.began = 2.0  # of what they were sent, much came late
    assert listener.position(500) == 150  # half a second is for their word's way here
    listener.began = 1.3
    assert listener.position(500) == 170  # nobody hears less than they say


def test_the_speed_counts_only_work() -> None:
    times = iter([0.0, 1.0, 11.0, 12.0, 13.5])
    speed = Speed(lambda: next(times))
    speed.tick(True)
    speed.made(4)
    speed.tick(False)
    assert speed.known is None  # too little to go by
    speed.tick(True)
    speed.made(2)
    speed.tick(True)
    speed.made(2)
    speed.tick(False)
    assert speed.known == pytest.approx(8 / 3.5)


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"balance": 1.5}, "balance"), ({"change": "jump"}, "change"), ({"seed": 3}, "seed"),
     ({"prompt": ""}, "prompt"), ({"volume": 3}, "volume"), ({"guidance_scale": 99}, "guidance")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        WISH.steered(**fields)


def test_codes_that_are_drawn_follow_the_temperature_of_the_moment(tiny: MusicGen) -> None:
    passage = Passage(tiny, WISH, 1)
    passage.wish = WISH.steered(temperature=0.5)
    assert [knobs.temperature for knobs in passage.knobs] == [0.5]
    assert torch.is_tensor(passage.between(0, 0))

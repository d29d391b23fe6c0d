"""Many requests at once: each is made as if it were alone, whoever comes, goes or fails."""

from __future__ import annotations

import gc
import itertools
import random
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen_space.clip import Clip
from musicgen_space.engine import windows
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.conditioning import Conditioning
from musicgen_space.engine.model import Columns
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.placement import CPU
from musicgen_space.engine.scheduler.events import Done, Event, Failed, Made
from musicgen_space.engine.scheduler.scheduler import Making, Scheduler
from musicgen_space.engine.scheduler.turns import FAR_AHEAD, choose
from musicgen_space.errors import Stopped
from musicgen_space.request import MusicRequest
from tests.conftest import TORCH
from tests.engine.test_generate import noise
from tests.engine.test_memory import MEGABYTE, allocated


@pytest.fixture(scope="module", autouse=True)
def short_windows() -> Iterator[None]:
    """So that a take of some seconds is made in several windows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "WINDOW_SECONDS", 2)
        patch.setattr(windows, "STRIDE_SECONDS", 1)
        yield


TUNE = Clip(np.sin(np.arange(64_000) / 20)[None].astype(np.float32), 32_000)
REQUESTS = [
    MusicRequest("jazz", duration=1.5, seed=1),
    MusicRequest("a lullaby of bells", duration=1, seed=2, guidance_scale=1, top_k=20),
    MusicRequest("techno", duration=3.2, seed=3, temperature=1.3),  # three windows
    MusicRequest("jazz", duration=2, seed=4, top_p=0.8, negative_prompt="drums"),
    MusicRequest("rain", duration=1.2, seed=5, blend_prompt="a storm of drums", top_p=0.5),
    MusicRequest("jazz", duration=1, seed=6, continue_from=noise(0.7)),
    MusicRequest("funk", duration=1.1, seed=7, variations=3, top_k=5),
    MusicRequest("funk", duration=1.1, seed=8),
]
_KINDS = {"int8": "tiny", "none": "tiny", "melody": "tiny_melody"}


@pytest.fixture(scope="module", params=_KINDS)
def model(request: pytest.FixtureRequest) -> MusicGen:
    folder: Path = request.getfixturevalue(f"{_KINDS[request.param]}_folder")
    return load(folder, replace(CPU, quant="none" if request.param == "none" else "int8"))


@pytest.fixture(scope="module")
def requests(model: MusicGen) -> list[MusicRequest]:
    if not model.decoder.config.follows_melody:
        return REQUESTS
    return [*REQUESTS, *(replace(REQUESTS[i], seed=90 + i, melody=TUNE) for i in (0, 3))]


@pytest.fixture(scope="module")
def alone(model: MusicGen, requests: list[MusicRequest]) -> list[torch.Tensor]:
    """The codes of each request by itself [B, K, T]."""
    found = []
    for request in requests:
        with Scheduler(model) as scheduler:
            making = scheduler.add(request)
            run(scheduler)
        found.append(making.generation.codes)
    return found


def run(scheduler: Scheduler) -> list[Event]:
    """Everything that comes until there is nothing to do."""
    events = []
    while scheduler.busy:
        events += scheduler.step()
    return events


def after(steps: int) -> Callable[[], bool]:
    """A Stop that is pressed after so many steps: asked before each."""
    asked = itertools.count(1)
    return lambda: next(asked) > steps


@settings(max_examples=12)
@given(data=st.data())
def test_each_of_many_gets_the_codes_that_it_gets_alone(
    model: MusicGen, requests: list[MusicRequest], alone: list[torch.Tensor], data: st.DataObject
) -> None:
    """They come one after the other, go when they are done, and some are stopped on the way."""
    which = st.integers(0, len(requests) - 1)
    comes = data.draw(st.lists(st.tuples(which, st.integers(0, 60)), min_size=2, max_size=6))
    stops = data.draw(st.lists(st.integers(1, 200), min_size=len(comes), max_size=len(comes)))
    makings: list[tuple[int, Making]] = []
    with Scheduler(model) as scheduler:
        for (index, pause), stop in zip(comes, stops, strict=True):
            makings.append((index, scheduler.add(requests[index], after(stop))))
            for _ in range(pause):
                scheduler.step()
        run(scheduler)
    for index, making in makings:
        made, frames = making.generation.codes, making.generation.frames
        assert torch.equal(made[..., :frames], alone[index][..., :frames])


def test_whoever_is_not_stopped_is_made_whole(
    model: MusicGen, requests: list[MusicRequest], alone: list[torch.Tensor]
) -> None:
    with Scheduler(model) as scheduler:
        makings = [scheduler.add(request) for request in requests]
        events = run(scheduler)
    assert all(map(torch.equal, (each.generation.codes for each in makings), alone))
    assert {event.making for event in events if isinstance(event, Done)} == {*makings}


@pytest.mark.parametrize("kind", ["tiny", "tiny_stereo_melody"])
@torch.inference_mode()
def test_on_torch_each_gets_the_logits_that_it_gets_alone_up_to_rounding(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Generations of other lengths and branches, of which one reads many columns, the next one."""
    model = load(request.getfixturevalue(f"{kind}_folder"), TORCH)
    decoder, chance = model.decoder, torch.Generator().manual_seed(0)
    config = decoder.config

    def columns(takes: int, count: int) -> Columns:
        shape = (takes, config.codebooks, count)
        return Columns(torch.randint(config.codebook_size, shape, generator=chance))

    started = []
    for wanted in (REQUESTS[0], REQUESTS[1], REQUESTS[4], REQUESTS[6]):
        condition = Conditioning(wanted, model.text, config, 32_000).at(0)
        first = columns(wanted.variations, 1 + len(started) * 5)
        started.append((condition, first, columns(wanted.variations, len(started) % 2 * 9 + 1)))

    def states() -> list[Any]:
        return [
            decoder.prefill(first.codes, condition, max_steps=50)[1]
            for condition, first, _ in started
        ]

    reads = [read for _, _, read in started]
    together = decoder.step(states(), reads)
    for logits, state, read in zip(together, states(), reads, strict=True):
        [alone] = decoder.step([state], [read])
        assert torch.allclose(logits, alone, atol=1e-4)


def sounds(events: list[Event]) -> dict[Making, np.ndarray]:
    """What was heard of each request: [B, channels, n]."""
    pieces: dict[Making, list[np.ndarray]] = {}
    for event in events:
        if isinstance(event, Made):
            pieces.setdefault(event.making, []).append(event.piece.samples)
    return {key: np.concatenate(each, axis=-1) for key, each in pieces.items()}


def heard_alone(model: MusicGen, request: MusicRequest) -> np.ndarray:
    with Scheduler(model) as scheduler:
        scheduler.add(request)
        [sound] = sounds(run(scheduler)).values()
    return sound


def test_each_of_many_is_heard_as_it_is_alone(tiny: MusicGen) -> None:
    with Scheduler(tiny) as scheduler:
        makings = [scheduler.add(request) for request in REQUESTS]
        together = sounds(run(scheduler))
    for making, request in zip(makings, REQUESTS, strict=True):
        assert np.array_equal(together[making], heard_alone(tiny, request))


# Who is served when.


class Listener:
    """Somebody with so many seconds of sound to hear."""

    paced = False

    def __init__(self, ahead: float, columns: int = 1, rows: int = 2) -> None:
        self._ahead, self.columns, self.rows = ahead, columns, rows

    def ahead(self, now: float) -> float:
        return self._ahead - now

    def hears(self, seconds: float) -> None:
        """So much more is made for them."""
        self._ahead += seconds


NOTHING_YET = -float("inf")


def test_all_who_listen_are_advanced_together_the_least_ahead_first() -> None:
    well_off, poor = Listener(9.0), Listener(0.1)
    assert choose([well_off, poor], now=0, step=0) == [(poor, 1), (well_off, 1)]


def test_whoever_is_far_ahead_waits_while_a_newcomer_hears_nothing() -> None:
    far, near, new = Listener(FAR_AHEAD + 1), Listener(FAR_AHEAD - 1), Listener(NOTHING_YET)
    assert choose([far, near, new], now=0, step=0) == [(new, 1), (near, 1)]
    assert far in dict(choose([far, near, new], now=1.5, step=0))  # nobody is left to fall silent


def test_the_others_take_every_second_step_while_a_newcomer_hears_nothing() -> None:
    new, other = Listener(NOTHING_YET), Listener(0.5)
    assert [len(choose([new, other], now=0, step=step)) for step in range(4)] == [2, 1, 2, 1]
    new.columns = 600
    assert [len(choose([new, other], now=0, step=step)) for step in range(4)] == [2, 2, 2, 2]


def test_a_long_prompt_is_read_in_slices_and_in_small_ones_beside_others() -> None:
    new, other = Listener(NOTHING_YET, columns=600), Listener(0.5)
    [(_, alone)] = choose([new], now=0, step=0)
    assert 1 < alone < 600
    beside = dict(choose([new, other], now=0, step=0))
    assert beside[other] == 1
    assert 1 < beside[new] < alone


# Milliseconds of a step by its takes, of musicgen-small's shape on two Zen 5 cores, and of a
# column of a prompt.
STEP, COLUMN = {1: 10.4, 2: 11.8, 3: 13.5, 4: 15.2}, 4.0


@pytest.mark.parametrize("prompt", [1, 600], ids=["from nothing", "after a long clip"])
@pytest.mark.parametrize("ahead", [0.1, 5.0], ids=["just in time", "far ahead"])
def test_a_newcomer_hears_something_in_far_less_than_twice_the_time_of_one_who_is_alone(
    prompt: int, ahead: float
) -> None:
    def wait(others: int) -> float:
        listeners = [Listener(ahead) for _ in range(others)]
        newcomer, now, codes = Listener(NOTHING_YET, columns=prompt), 0.0, 0
        for step in itertools.count():
            if codes == 60:  # a second of music, and what EnCodec has to know beyond
                return now
            turns = dict(choose([*listeners, newcomer], now, step))
            now += (STEP[len(turns)] + COLUMN * (turns[newcomer] - 1)) / 1000
            codes += newcomer.columns == turns[newcomer]
            newcomer.columns = max(1, newcomer.columns - turns[newcomer])
            for each in turns.keys() & {*listeners}:
                each.hears(1 / 50)
        raise AssertionError

    assert wait(others=3) < 1.6 * wait(others=0)


def test_nobody_starves_where_newcomers_never_end(tiny: MusicGen) -> None:
    """By a clock that stands for seconds of a slow machine: a step lasts as long as its music."""
    now = 0.0
    with Scheduler(tiny, clock=lambda: now) as scheduler:
        first = scheduler.add(MusicRequest("jazz", duration=4))
        others = 0
        while not any(isinstance(e, Done) and e.making is first for e in scheduler.step()):
            now += 0.02
            if len(scheduler._making) + len(scheduler._joining) < 3 and others < 60:
                scheduler.add(MusicRequest("funk", duration=1, seed=others))
                others += 1
        assert others < 60


# What goes wrong.


class Broken:
    """A decoder that fails whenever one of some states takes part."""

    def __init__(self, model: MusicGen, error: Callable[[], Exception]) -> None:
        self._decoder, self._error = model.decoder, error
        self.config, self.broken = model.decoder.config, weakref.WeakSet[Any]()
        self.states: list[weakref.ref[Any]] = []

    def start(self, *arguments: Any) -> Any:
        state, prefix = self._decoder.start(*arguments)
        self.states.append(weakref.ref(state))
        return state, prefix

    def alive(self) -> int:
        """How many states somebody still has."""
        return sum(state() is not None for state in self.states)

    def step(self, states: list[Any], columns: list[Any]) -> list[torch.Tensor]:
        if any(state in self.broken for state in states):
            raise self._error()
        return self._decoder.step(states, columns)


@pytest.mark.parametrize("error", [MemoryError, ValueError])
def test_one_that_fails_takes_no_other_with_it(tiny: MusicGen, error: type[Exception]) -> None:
    decoder = Broken(tiny, error)
    with Scheduler(replace(tiny, decoder=decoder)) as scheduler:
        good, bad = (scheduler.add(REQUESTS[index]) for index in (0, 7))
        while not (good.steps > 10 and bad.steps > 10):
            scheduler.step()
        decoder.broken.add(bad.sequence.state)
        events = run(scheduler)
    assert [type(e.error) for e in events if isinstance(e, Failed)] == [error]
    assert [e.making for e in events if isinstance(e, Done)] == [good]
    with Scheduler(tiny) as scheduler:
        alone = scheduler.add(REQUESTS[0])
        run(scheduler)
    assert torch.equal(good.generation.codes, alone.generation.codes)


def test_what_is_made_while_the_program_ends_is_stopped_and_did_not_fail(
    tiny: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Scheduler(tiny) as scheduler:
        scheduler.add(REQUESTS[0])
        while not sounds(scheduler.step()):
            pass
        monkeypatch.setattr("concurrent.futures.thread._shutdown", True)  # as at the end
        with pytest.raises(Stopped):
            scheduler.add(REQUESTS[1])
        with pytest.raises(Stopped):
            run(scheduler)


def test_memory_that_is_short_for_a_newcomer_refuses_the_newcomer_only(
    tiny: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Scheduler(tiny) as scheduler:
        first = scheduler.add(REQUESTS[0])
        while first.steps < 10:
            scheduler.step()

        def full(*_: object) -> None:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(type(tiny.decoder), "start", full)
            newcomer = scheduler.add(REQUESTS[7])
            while not (told := [e for e in scheduler.step() if not isinstance(e, Made)]):
                pass
            assert [(e.making, type(e)) for e in told] == [(newcomer, Failed)]
        assert [e.making for e in run(scheduler) if isinstance(e, Done)] == [first]


def crowd(model: MusicGen, count: int, decoder: Broken) -> Iterator[tuple[int, str, list[Event]]]:
    """Short takes that come by chance, eight at a time: each one's number, fate and events."""
    chance = random.Random(5)
    coming = [
        (n, chance.choices(["stop", "fail", "drop", ""], [2, 1, 1, 6])[0]) for n in range(count)
    ]
    here: dict[Making, tuple[int, str, threading.Event]] = {}
    told: dict[Making, list[Event]] = {}
    with Scheduler(replace(model, decoder=decoder)) as scheduler:
        while coming or here:
            if coming and len(here) < 8 and chance.random() < 0.3:
                number, fate = coming.pop()
                stop = threading.Event()
                making = scheduler.add(short(number), stop.is_set)
                here[making], told[making] = (number, fate, stop), []
            for event in scheduler.step():
                told[event.making].append(event)
                if isinstance(event, Failed):
                    event.error.__traceback__ = None  # which holds the take's memory
            for making, (number, fate, stop) in tuple(here.items()):
                ended = any(not isinstance(event, Made) for event in told[making])
                met = making.steps > 10 + number % 40 and not ended
                if met and fate == "stop":
                    stop.set()
                elif met and fate == "fail" and (sequence := making.generation.sequence):
                    decoder.broken.add(sequence.state)
                elif met and fate == "drop":
                    scheduler.cancel(making)
                    ended = True
                if ended:
                    del here[making]
                    yield number, fate, told.pop(making)


def short(number: int) -> MusicRequest:
    return MusicRequest("jazz", duration=1 + number % 3 * 0.3, seed=number % 6)


def test_hundreds_of_takes_that_come_go_stop_and_fail_lose_nothing_and_leave_nothing(
    tiny: MusicGen,
) -> None:
    """A fifth are stopped, a tenth fail, and of a tenth nobody waits for the end."""
    threads = set(threading.enumerate())
    alone = {number: heard_alone(tiny, short(number)) for number in range(6)}
    fates: Counter[str] = Counter()
    used = []
    for _ in range(2):
        decoder = Broken(tiny, MemoryError)
        for number, fate, events in crowd(tiny, 100, decoder):
            fates[fate] += 1
            check_fate(tiny, alone[number % 6], fate, events)
            assert decoder.alive() <= 8  # of those that are being made
        del events
        gc.collect()
        assert decoder.alive() == 0
        used.append(allocated())
    assert sum(fates.values()) == 200
    assert min(fates.values()) >= 10
    assert used[1] - used[0] < MEGABYTE  # the second hundred left nothing either
    assert set(threading.enumerate()) <= threads


def check_fate(model: MusicGen, whole: np.ndarray, fate: str, events: list[Event]) -> None:
    """It came to its own end, with what it has alone: ``whole``."""
    last, [made] = type(events[-1]), sounds(events).values()
    assert last is {"fail": Failed, "drop": Made}.get(fate, Done)
    if not fate:
        assert np.array_equal(made, whole)
    settled = max(0, made.shape[-1] - model.codec.lookahead * 640)  # a stop is a real end
    assert np.abs(made[..., :settled] - whole[..., :settled]).max(initial=0) < 1e-4

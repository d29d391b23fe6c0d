from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen_space.backends.base import Chunk, Loading, Progress, Update, Waiting
from musicgen_space.backends.local.backend import LocalBackend
from musicgen_space.backends.local.checkpoints import Checkpoints
from musicgen_space.clip import Clip
from musicgen_space.engine import memory
from musicgen_space.engine.runtimes.native.decoder import NativeDecoder
from musicgen_space.errors import (
    BackendError,
    InvalidCheckpoint,
    ModelUnavailable,
    OutOfMemory,
    QueueFull,
    UnreadableAudio,
)
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings
from musicgen_space.take import Take


@pytest.fixture
def backend(tiny_folder: Path) -> Iterator[LocalBackend]:
    backend = LocalBackend(Settings(models=(str(tiny_folder),), max_waiting=2))
    yield backend
    backend.close()


@pytest.fixture
def one_by_one(tiny_folder: Path) -> Iterator[LocalBackend]:
    backend = LocalBackend(Settings(models=(str(tiny_folder),), at_once=1, max_waiting=2))
    yield backend
    backend.close()


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("127.0.0.1", "This machine: free, private, speed of your hardware"),
        ("0.0.0.0", "This server: free; visitors take turns"),
    ],
)
def test_the_owner_reads_of_their_machine_and_a_visitor_of_the_server(host: str, told: str) -> None:
    backend = LocalBackend(Settings(host=host))
    backend.close()
    assert f"{backend.label}: {backend.about}" == told


def wish(folder: Path, **knobs: Any) -> MusicRequest:
    return MusicRequest("jazz", model=str(folder), **{"duration": 2, **knobs})


def made(backend: LocalBackend, request: MusicRequest) -> list[Update]:
    return list(backend.generate(request, threading.Event()))


class Listener:
    """Somebody who waits for a take in a thread of their own."""

    def __init__(self, backend: LocalBackend, request: MusicRequest, visitor: str = "") -> None:
        self.stop = threading.Event()
        self.updates: list[Update] = []
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._listen, args=(backend, request, visitor))
        self._thread.start()

    def _listen(self, backend: LocalBackend, request: MusicRequest, visitor: str) -> None:
        for update in backend.generate(request, self.stop, visitor):
            with self._arrived:
                self.updates.append(update)
                self._arrived.notify_all()

    def places(self) -> set[int]:
        """Those in the queue that were told."""
        with self._arrived:
            return {update.place for update in self.updates if isinstance(update, Waiting)}

    def wait_for(self, kind: type) -> None:
        with self._arrived:
            assert self._arrived.wait_for(
                lambda: any(isinstance(update, kind) for update in self.updates), 60
            )

    def join(self) -> list[Update]:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.updates


def test_a_take_is_its_chunks_and_knows_where_it_came_from(
    backend: LocalBackend, tiny_folder: Path
) -> None:
    updates = made(backend, wish(tiny_folder, seed=5))
    take = updates[-1]
    assert isinstance(updates[0], Loading)
    assert isinstance(take, Take)
    chunks = [update.samples for update in updates if isinstance(update, Chunk)]
    assert np.array_equal(np.concatenate(chunks, axis=1), take.samples)
    assert (take.duration, take.sample_rate, take.stopped) == (2.0, 32000, False)
    assert (take.backend, take.model, take.request.seed) == ("local", str(tiny_folder), 5)
    assert take.seconds_taken > 0


def test_a_take_knows_where_the_new_music_begins_after_a_long_clip(
    backend: LocalBackend, tiny_folder: Path
) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (1, 30 * 32_000)).astype(np.float32)
    updates = made(backend, wish(tiny_folder, continue_from=Clip(noise, 32_000)))
    take = updates[-1]
    assert isinstance(take, Take)
    assert (take.given_seconds, take.duration, take.stopped) == (30, 32, False)
    chunks = [update.samples for update in updates if isinstance(update, Chunk)]
    assert np.array_equal(np.concatenate(chunks, axis=1), take.samples)
    assert np.array_equal(chunks[0], noise[:, :32_000])
    progress = [update for update in updates if isinstance(update, Progress)]
    assert progress[-1].seconds_made == progress[-1].seconds_wanted == 2


def test_progress_speaks_in_seconds_of_music(backend: LocalBackend, tiny_folder: Path) -> None:
    updates = made(backend, wish(tiny_folder, duration=3))
    progress = [update for update in updates if isinstance(update, Progress)]
    assert progress[-1].seconds_made == progress[-1].seconds_wanted == 3.0
    assert progress[-1].seconds_left == pytest.approx(0)
    assert all(p.real_time_factor >= 0 for p in progress)


def test_the_seed_drawn_for_minus_one_makes_the_take_again(
    backend: LocalBackend, tiny_folder: Path
) -> None:
    drawn = made(backend, wish(tiny_folder, seed=-1))[-1]
    assert isinstance(drawn, Take)
    assert 0 <= drawn.request.seed <= 9999
    again = made(backend, drawn.request)[-1]
    assert isinstance(again, Take)
    assert np.array_equal(drawn.samples, again.samples)


def test_where_the_owner_wants_one_take_at_a_time_the_others_see_their_place(
    one_by_one: LocalBackend, tiny_folder: Path
) -> None:
    first = Listener(one_by_one, wish(tiny_folder, duration=300))
    first.wait_for(Progress)
    second = Listener(one_by_one, wish(tiny_folder, duration=100))
    second.wait_for(Waiting)
    third = Listener(one_by_one, wish(tiny_folder))
    third.wait_for(Waiting)
    assert second.places() == {1}
    assert third.places() == {2}
    with pytest.raises(QueueFull, match="queue is full: 2 waiting"):
        made(one_by_one, wish(tiny_folder))
    first.stop.set()
    assert [isinstance(listener.join()[-1], Take) for listener in (first, second, third)]
    assert 1 in third.places()


def test_a_visitor_with_many_takes_does_not_hold_up_another(
    one_by_one: LocalBackend, tiny_folder: Path
) -> None:
    greedy = [Listener(one_by_one, wish(tiny_folder, duration=100), "greedy")]
    greedy[0].wait_for(Progress)
    greedy.append(Listener(one_by_one, wish(tiny_folder, duration=300), "greedy"))
    greedy[1].wait_for(Waiting)
    other = Listener(one_by_one, wish(tiny_folder, duration=1), "other")
    other.wait_for(Waiting)
    assert other.places() == {1}
    greedy[0].stop.set()
    assert isinstance(other.join()[-1], Take)
    assert not any(isinstance(update, Take) for update in greedy[1].updates)
    for listener in greedy:
        listener.stop.set()
        listener.join()


def test_a_listener_who_is_slow_does_not_hold_up_the_next(
    one_by_one: LocalBackend, tiny_folder: Path
) -> None:
    slow = one_by_one.generate(wish(tiny_folder), threading.Event(), "slow")
    next(slow)
    assert isinstance(made(one_by_one, wish(tiny_folder))[-1], Take)
    assert isinstance([*slow][-1], Take)


def test_listeners_do_not_wait_for_each_others_takes(
    backend: LocalBackend, tiny_folder: Path
) -> None:
    first = Listener(backend, wish(tiny_folder, duration=300))
    first.wait_for(Chunk)
    second = Listener(backend, wish(tiny_folder, seed=5))
    take = second.join()[-1]
    assert isinstance(take, Take)
    assert not any(isinstance(update, Waiting | Loading) for update in second.updates)
    assert not any(isinstance(update, Take) for update in first.updates)
    first.stop.set()
    assert isinstance(first.join()[-1], Take)
    [*_, alone] = made(backend, wish(tiny_folder, seed=5))
    assert isinstance(alone, Take)
    assert np.array_equal(take.samples, alone.samples)


def test_more_takes_than_the_owner_allows_wait_in_line(tiny_folder: Path) -> None:
    backend = LocalBackend(Settings(models=(str(tiny_folder),), at_once=2))
    first = Listener(backend, wish(tiny_folder, duration=300))
    first.wait_for(Chunk)
    several = Listener(backend, wish(tiny_folder, variations=2))
    several.wait_for(Waiting)
    first.stop.set()
    assert sum(isinstance(update, Take) for update in several.join()) == 2
    backend.close()


def test_another_model_waits_for_those_that_are_made_and_nobody_overtakes_it(
    backend: LocalBackend, tiny_folder: Path, tiny_melody_folder: Path
) -> None:
    first = Listener(backend, wish(tiny_folder, duration=300))
    first.wait_for(Chunk)
    other = Listener(backend, wish(tiny_melody_folder))
    other.wait_for(Waiting)
    third = Listener(backend, wish(tiny_folder, duration=2), "third")
    third.wait_for(Waiting)
    assert other.places() == {1}
    first.stop.set()
    takes = [listener.join()[-1] for listener in (other, third)]
    assert [take.model for take in takes if isinstance(take, Take)] == [
        str(tiny_melody_folder),
        str(tiny_folder),
    ]


def test_where_memory_is_short_a_take_waits_for_the_others_to_end(
    backend: LocalBackend, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Listener(backend, wish(tiny_folder, duration=300))
    first.wait_for(Chunk)
    monkeypatch.setattr(memory, "free_bytes", lambda _: 50_000_000)
    second = Listener(backend, wish(tiny_folder))
    second.wait_for(Waiting)
    first.stop.set()
    assert isinstance(second.join()[-1], Take)


def test_a_take_that_fails_takes_no_other_with_it(
    backend: LocalBackend, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Listener(backend, wish(tiny_folder, duration=300))
    first.wait_for(Chunk)

    def full(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(NativeDecoder, "start", full)
        with pytest.raises(OutOfMemory, match="The memory is full"):
            made(backend, wish(tiny_folder))
    before = len(first.updates)
    first.stop.set()
    assert isinstance(first.join()[-1], Take)
    assert len(first.updates) > before


def test_stop_ends_a_take_at_once_and_keeps_what_was_made(
    backend: LocalBackend, tiny_folder: Path
) -> None:
    listener = Listener(backend, wish(tiny_folder, duration=300))
    listener.wait_for(Chunk)
    listener.stop.set()
    take = listener.join()[-1]
    assert isinstance(take, Take)
    assert take.stopped
    assert 1 <= take.duration < 300
    assert isinstance(made(backend, wish(tiny_folder))[-1], Take)


def test_stop_while_waiting_gives_the_place_away(
    one_by_one: LocalBackend, tiny_folder: Path
) -> None:
    first = Listener(one_by_one, wish(tiny_folder, duration=300))
    first.wait_for(Progress)
    second = Listener(one_by_one, wish(tiny_folder))
    second.wait_for(Waiting)
    second.stop.set()
    assert all(isinstance(update, Waiting) for update in second.join())
    assert second.places() == {1}
    first.stop.set()
    first.join()


def test_a_listener_who_leaves_stops_the_work(one_by_one: LocalBackend, tiny_folder: Path) -> None:
    updates = one_by_one.generate(wish(tiny_folder, duration=300), threading.Event())
    assert any(isinstance(update, Chunk) for update in updates)
    updates.close()
    started = time.perf_counter()
    assert isinstance(made(one_by_one, wish(tiny_folder))[-1], Take)
    # Thirty seconds of music take far longer: the abandoned take was not finished first.
    assert time.perf_counter() - started < 20


def test_nothing_runs_on_after_closing(tiny_folder: Path) -> None:
    before = set(threading.enumerate())
    backend = LocalBackend(Settings(models=(str(tiny_folder),)))
    listener = Listener(backend, wish(tiny_folder, duration=300))
    listener.wait_for(Chunk)
    backend.close()
    listener.join()
    assert set(threading.enumerate()) <= before


def test_a_folder_that_is_no_checkpoint_is_an_error_and_the_next_take_works(
    backend: LocalBackend, tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidCheckpoint):
        made(backend, wish(tmp_path))
    assert isinstance(made(backend, wish(tiny_folder))[-1], Take)


@pytest.mark.parametrize(
    ("field", "samples", "complaint"),
    [
        ("continue_from", np.zeros((2, 32_000)), "no sound above"),
        ("continue_from", np.repeat([[0.5, 0]], [32_000, 64_000 * 15], 1), "from 11.0 to 31.0 s"),
        ("melody", np.zeros((1, 32_000)), "no sound above"),
        ("melody", np.full((2, 32_000), [[0.5], [-0.5]]), "channels cancel each other"),
    ],
)
def test_a_clip_that_no_model_can_hear_is_refused_before_one_is_loaded(
    field: str, samples: np.ndarray, complaint: str, backend: LocalBackend, tmp_path: Path
) -> None:
    clip = Clip(samples.astype(np.float32), 32_000)
    request = MusicRequest("jazz", model=str(tmp_path / "none"), **{field: clip})
    with pytest.raises(UnreadableAudio, match=complaint):
        made(backend, request)


def test_a_model_that_is_nowhere_says_what_to_do(backend: LocalBackend) -> None:
    with pytest.raises(ModelUnavailable, match=r"HF_HUB_OFFLINE is set.*musicgen-nano"):
        made(backend, MusicRequest("jazz", model="facebook/musicgen-small"))
    with pytest.raises(ModelUnavailable, match="There is no folder"):
        made(backend, MusicRequest("jazz", model="/no/such/folder"))


def test_the_model_list_begins_with_the_embedded_one(backend: LocalBackend) -> None:
    names = [choice.name for choice in backend.models()]
    assert names[0] == "musicgen-nano"
    assert "facebook/musicgen-small" in names


class Panic(BaseException):
    """As libraries in Rust raise it."""


@pytest.mark.parametrize("failure", [ImportError("libsomething.so: cannot open"), Panic("oh")])
def test_a_failure_nobody_foresaw_is_told_and_the_next_take_works(
    failure: BaseException,
    backend: LocalBackend,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(backend, "_model", broken)
        with pytest.raises(BackendError, match="its log says why"):
            made(backend, wish(tiny_folder))
    assert isinstance(made(backend, wish(tiny_folder))[-1], Take)


def test_a_failure_is_told_where_its_memory_can_not_be_freed_either(
    backend: LocalBackend, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    made(backend, wish(tiny_folder))
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "release", broken)
        with pytest.raises(InvalidCheckpoint):
            made(backend, wish(tmp_path))
    assert isinstance(made(backend, wish(tiny_folder))[-1], Take)

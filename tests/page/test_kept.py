"""What visitors' pages keep in the server's memory, and that it is bounded."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from musicgen_space.clip import Clip
from musicgen_space.page.player.shelf import Shelf
from musicgen_space.page.visitors.kept import Kept
from musicgen_space.request import MusicRequest
from musicgen_space.take import Take


def take(seconds: float = 1, **wish: object) -> Take:
    samples = np.zeros((1, int(seconds * 32000)), np.float32)
    return Take(samples, 32000, MusicRequest("jazz", **wish), "local", "nano", 1.0)  # type: ignore[arg-type]


def test_the_oldest_things_are_forgotten_when_room_is_needed() -> None:
    kept: Kept[str] = Kept(100)
    first, second = kept.add("first", 60), kept.add("second", 30)
    assert (kept.get(first), kept.get(second)) == ("first", "second")
    third = kept.add("third", 30)
    assert [kept.get(key) for key in (first, second, third)] == [None, "second", "third"]


def test_what_still_grows_outlives_what_does_not() -> None:
    kept: Kept[str] = Kept(100)
    growing, resting = kept.add("growing", 10), kept.add("resting", 50)
    kept.grow(growing, 60)
    assert (kept.get(growing), kept.get(resting)) == ("growing", None)


def test_what_is_still_to_come_is_not_forgotten_meanwhile() -> None:
    kept: Kept[str] = Kept(100)
    waiting = kept.add("waiting")
    for _ in range(5):
        kept.add("large", 90)
    assert kept.get(waiting) == "waiting"


def test_a_single_thing_may_be_larger_than_the_room() -> None:
    kept: Kept[str] = Kept(100)
    assert kept.get(kept.add("huge", 1000)) == "huge"


def test_nobody_guesses_what_others_keep() -> None:
    kept: Kept[str] = Kept(100)
    assert len({kept.add("thing") for _ in range(50)}) == 50
    assert min(len(kept.add("thing")) for _ in range(50)) >= 20
    kept.forget(None)
    kept.forget("nothing")


def test_live_sound_comes_back_chunk_by_chunk() -> None:
    shelf = Shelf()
    key = shelf.start()
    assert shelf.append(key, np.array([[0.0, 1.0], [-1.0, 0.5]])) == 1
    encoded = shelf.chunks(key, 0)
    assert encoded is not None
    interleaved = np.frombuffer(base64.b64decode(*encoded), "<i2")
    assert interleaved.tolist() == [0, -32768, 32767, 16384]
    assert shelf.chunks(key, 1) is None
    assert shelf.chunks("somebody-else", 0) is None


def test_live_sound_that_came_meanwhile_comes_together_within_a_bound() -> None:
    shelf = Shelf()
    key = shelf.start()
    for _ in range(30):
        shelf.append(key, np.zeros((1, 100)))
    assert [len(shelf.chunks(key, first) or []) for first in (0, 25)] == [8, 5]


def test_finished_takes_and_the_example_are_found() -> None:
    example, made = take(), [take(), take()]
    shelf = Shelf({"example": example}.get)
    key = shelf.start()
    assert shelf.take(key, 0) is None
    shelf.finish(key, made)
    assert [shelf.take(key, index) for index in range(3)] == [*made, None]
    assert shelf.take(key, -1) is None
    assert shelf.take("example", 0) is example
    assert Shelf().take("example", 0) is None


def test_the_memory_of_takes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicgen_space.page.player.shelf._BYTES_KEPT", 1_000_000)
    example = take()
    shelf = Shelf({"example": example}.get)
    keys = [shelf.start() for _ in range(20)]
    for key in keys:
        shelf.append(key, np.zeros((1, 32000)))
        shelf.finish(key, [take(melody=Clip(np.zeros((1, 32000), np.float32), 32000))])
    # One has a chunk of 64 kB, a take of 128 kB and a clip of 128 kB.
    kept = keys[-3:]
    assert [key for key in keys if shelf.take(key, 0)] == kept
    assert [key for key in keys if shelf.chunks(key, 0)] == kept
    assert shelf.take("example", 0) is example


def test_nobody_pushes_out_anothers_things_by_bringing_ever_more() -> None:
    kept: Kept[str] = Kept(100)
    own = kept.add("own", 30, "modest")
    many = [kept.add("large", 40, "greedy") for _ in range(4)]
    assert [kept.get(key) for key in (own, *many)] == ["own", None, None, None, "large"]
    kept.grow(many[-1], 20)
    assert kept.get(own) == "own"
    assert kept.get(kept.add("another", 40, "third")) == "another"
    assert (kept.get(own), kept.get(many[-1])) == ("own", None)


def test_each_visitor_has_a_bound_of_their_own() -> None:
    kept: Kept[str] = Kept(1000, most_each=100)
    first, second = (kept.add("thing", 60, "one") for _ in range(2))
    assert (kept.get(first), kept.get(second)) == (None, "thing")
    assert kept.get(kept.add("huge", 500, "two")) == "huge"  # just one thing


def test_the_takes_and_sounds_of_one_visitor_do_not_push_out_anothers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("musicgen_space.page.player.shelf._BYTES_KEPT", 1_000_000)
    shelf = Shelf()
    own, *many = [shelf.start(visitor) for visitor in ("modest", *["greedy"] * 20)]
    for key in (own, *many):
        shelf.finish(key, [take()])
    assert shelf.take(own, 0)
    assert shelf.take(many[-1], 0)

"""How long until one's turn: by what is left of others' takes, and the machine's measured speed."""

from __future__ import annotations

import pytest

from musicgen_space.backends.base import Waiting
from musicgen_space.backends.queue import TakeQueue, Work, roughly, seconds_until_turn
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings


def request(seconds: float, variations: int = 1) -> MusicRequest:
    return MusicRequest("jazz", duration=seconds, variations=variations)


@pytest.mark.parametrize(
    ("made", "line", "seconds"),
    [
        ([Work(10)], [Work(99)], 5),  # at twice real time
        ([Work(10), Work(4)], [Work(99)], 4),  # the shorter one is done at half of that speed
        ([Work(10, variations=4)], [Work(99)], 20),
        ([Work(10), Work(4)], [Work(1), Work(99)], 5),  # the one before is done soon as well
        ([Work(10, model="a")], [Work(6, model="b"), Work(99, model="a")], 8),
        ([Work(10, model="a"), Work(4, model="a")], [Work(99, model="b")], 7),  # waits for all
    ],
)
def test_it_is_when_those_before_are_done(
    made: list[Work], line: list[Work], seconds: float
) -> None:
    assert seconds_until_turn(made, line, speed=2) == seconds


def test_it_is_told_as_precisely_as_it_is_known() -> None:
    assert [roughly(seconds) for seconds in (0, 1, 12, 29, 31, 50, 61, 100, 1000)] == [
        *(5, 5, 10, 30, 30, 45, 60, 120, 1020)
    ]


def test_whoever_waits_is_told_how_long_and_it_gets_shorter() -> None:
    queue = TakeQueue(Settings(), speed=lambda: 2.0)
    with (
        queue.joined("a", request(40)) as first,
        queue.joined("b", request(20, variations=2)) as second,
        queue.joined("c", request(60)) as third,
    ):
        waits = [queue.waited(each, lambda: False) for each in (second, third)]
        assert [next(wait) for wait in waits] == [Waiting(1, 20), Waiting(2, 45)]
        queue.progressed(first, 20)
        assert [next(wait) for wait in waits] == [Waiting(1, 10), Waiting(2, 30)]
        queue.leave(first)
        assert next(waits[1]) == Waiting(1, 20)


def test_without_anything_measured_only_the_place_is_told() -> None:
    queue = TakeQueue(Settings())
    with queue.joined("a", request(40)), queue.joined("b", request(20)) as second:
        assert next(queue.waited(second, lambda: False)) == Waiting(1)

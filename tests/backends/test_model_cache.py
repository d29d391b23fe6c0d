from __future__ import annotations

import pytest

from musicgen_space.backends.local.model_cache import ModelCache


class Machine:
    """A memory of 10 bytes, and the models ``a`` … that take 4 of them each."""

    def __init__(self, most: int) -> None:
        self.models = ModelCache[str](most, lambda: 10 - 4 * len(self.taken), self.forget)
        self.taken: set[str] = set()
        self.most_taken = 0

    def forget(self) -> None:
        self.taken = {name for name in self.taken if name in self.models._held}

    def load(self, name: str, need: int = 4) -> None:
        def take() -> str:
            self.taken.add(name)
            self.most_taken = max(self.most_taken, len(self.taken))
            return name

        self.models.load(name, need, take)


def test_one_model_is_swapped_for_another_once_that_is_there() -> None:
    machine = Machine(most=1)
    machine.load("a")
    machine.load("b")
    assert machine.taken == {"b"}
    assert machine.most_taken == 2
    assert machine.models.get("a") is None


def test_the_least_recently_used_goes_first() -> None:
    machine = Machine(most=2)
    machine.load("a")
    machine.load("b")
    assert machine.models.get("a") == "a"
    machine.load("c", need=2)
    assert machine.taken == {"a", "c"}


def test_what_does_not_fit_beside_the_old_one_comes_after_it() -> None:
    machine = Machine(most=2)
    machine.load("a")
    machine.load("b", need=7)
    assert machine.taken == {"b"}
    assert machine.most_taken == 1


def test_a_failure_leaves_the_old_one_where_memory_had_room_for_both() -> None:
    machine = Machine(most=1)
    machine.load("a")

    def broken() -> str:
        raise ValueError("no checkpoint")

    with pytest.raises(ValueError, match="no checkpoint"):
        machine.models.load("b", 4, broken)
    assert machine.models.get("a") == "a"
    assert machine.models.get("b") is None


def test_room_for_a_take_is_made_by_the_others() -> None:
    machine = Machine(most=2)
    machine.load("a")
    machine.load("b")
    assert machine.models.room == 10
    assert machine.models.make_room(6, keep="a")
    assert machine.taken == {"a"}
    assert not machine.models.make_room(7, keep="a")
    assert machine.taken == {"a"}

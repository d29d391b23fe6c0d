"""How many takes at once the machine is trusted with, by what it was measured to keep up with."""

from __future__ import annotations

import pytest

from musicgen_space.backends.local.pace import Pace


class Machine:
    """One that makes so many seconds of sound in a second, whoever they are for."""

    def __init__(self, speed: float) -> None:
        self.now, self.speed = 0.0, speed
        self.pace = Pace(lambda: self.now)

    def makes(self, takes: int, seconds: int = 10) -> None:
        for _ in range(seconds):
            self.now += 1
            self.pace.made(takes, self.speed)

    def most(self) -> int:
        return max(takes for takes in range(1, 99) if self.pace.keeps_up(takes))


def test_a_second_take_joins_before_anything_is_measured() -> None:
    assert Machine(9).most() == 2


def test_more_join_as_long_as_each_is_heard_without_a_gap() -> None:
    machine = Machine(4.5)
    seen = []
    for _ in range(4):
        machine.makes(machine.most())
        seen.append(machine.most())
    assert seen == [4, 8, 4, 4]


def test_a_machine_that_is_slower_than_its_music_makes_one_take_at_a_time() -> None:
    machine = Machine(0.5)
    machine.makes(1)
    assert not machine.pace.keeps_up(2)


def test_what_was_measured_is_forgotten_in_time() -> None:
    machine = Machine(0.5)
    machine.makes(1)
    machine.now += 1000
    assert machine.pace.keeps_up(2)


def test_the_speed_is_that_of_all_takes_together_as_measured_last() -> None:
    machine = Machine(9)
    assert machine.pace.speed() is None
    machine.makes(2)
    machine.speed = 6
    machine.makes(4)
    assert machine.pace.speed() == pytest.approx(6)
    machine.now += 1000
    assert machine.pace.speed() is None

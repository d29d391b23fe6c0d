"""Visitors share the owner's key in small portions."""

from __future__ import annotations

import threading

import pytest

from musicgen_space.errors import AllowanceSpent
from musicgen_space.page.billing.allowance import Allowance


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now


def test_a_visitor_has_so_many_takes_and_no_more() -> None:
    allowance = Allowance(2)
    allowance.spend("ann")
    allowance.spend("ann")
    with pytest.raises(AllowanceSpent, match=r"2 takes.*wait 60 min"):
        allowance.spend("ann")


def test_visitors_do_not_take_from_each_other() -> None:
    allowance = Allowance(1)
    allowance.spend("ann")
    allowance.spend("bob")
    for visitor in ("ann", "bob"):
        with pytest.raises(AllowanceSpent):
            allowance.spend(visitor)


def test_takes_come_back_one_by_one() -> None:
    clock = Clock()
    allowance = Allowance(2, seconds=3600, clock=clock)
    allowance.spend("ann")
    clock.now = 1800
    allowance.spend("ann")
    with pytest.raises(AllowanceSpent, match="wait 30 min"):
        allowance.spend("ann")
    clock.now = 3600
    allowance.spend("ann")
    with pytest.raises(AllowanceSpent):
        allowance.spend("ann")


def test_an_allowance_of_nothing_refuses_everybody() -> None:
    with pytest.raises(AllowanceSpent, match="not for visitors"):
        Allowance(0).spend("ann")


def test_takes_at_the_same_moment_are_counted_exactly() -> None:
    allowance, granted = Allowance(5), []

    def visit() -> None:
        try:
            allowance.spend("ann")
        except AllowanceSpent:
            return
        granted.append(1)

    threads = [threading.Thread(target=visit) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 5

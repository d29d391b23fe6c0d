"""Whose take is made next: turns go round, short ones go first, nobody starves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.backends.fair_queue import FairQueue, Ticket
from musicgen_space.errors import QueueFull

LENGTHS = st.integers(1, 300).map(float)
WISHES = st.lists(st.tuples(st.sampled_from("abcd"), LENGTHS), min_size=1, max_size=30)


def made(turns: FairQueue) -> Ticket:
    """The take that is made next, from its beginning to its end."""
    ticket = turns.next()
    assert ticket is not None
    turns.leave(ticket)
    return ticket


def test_one_with_many_long_takes_delays_a_short_one_of_another_by_one() -> None:
    turns = FairQueue(most_waiting=20)
    for _ in range(14):
        turns.join("greedy", 300)
    being_made = turns.next()
    other = turns.join("other", 1)
    assert being_made is not None
    assert turns.place(other) == 1
    turns.leave(being_made)
    assert turns.next() is other


@given(st.lists(LENGTHS, min_size=1, max_size=20), st.integers(0, 20), LENGTHS)
def test_whoever_asks_first_is_delayed_by_one_take_and_what_is_as_short(
    lengths: list[float], before: int, length: float
) -> None:
    turns = FairQueue(most_waiting=50)
    for each in lengths:
        turns.join("greedy", each)
    for _ in range(min(before, len(lengths) - 1)):
        made(turns)
    being_made = turns.next()
    other = turns.join("other", length)
    assert being_made is not None
    turns.leave(being_made)
    first = []
    while (ticket := made(turns)) is not other:
        first.append(ticket.length)
    assert sum(first) <= length


def test_turns_go_round() -> None:
    turns = FairQueue(most_waiting=20)
    for visitor in "aaabbbccc":
        turns.join(visitor, 10)
    assert [made(turns).visitor for _ in range(9)] == [*"abcabcabc"]


def test_shorter_takes_of_others_go_first() -> None:
    turns = FairQueue(most_waiting=20)
    for visitor, length in [("long", 300), ("short", 5), ("middle", 30)]:
        turns.join(visitor, length)
    assert [made(turns).visitor for _ in range(3)] == ["short", "middle", "long"]


def test_ones_own_takes_are_made_as_one_asked_for_them() -> None:
    turns = FairQueue(most_waiting=20)
    for length in (300, 1, 30):
        turns.join("owner", length)
    assert [made(turns).length for _ in range(3)] == [300, 1, 30]


@given(LENGTHS, st.lists(st.tuples(st.sampled_from("abc"), LENGTHS), min_size=1, max_size=20))
def test_nobody_starves_whatever_others_ask_for(
    length: float, wishes: list[tuple[str, float]]
) -> None:
    """Others come and come again; each is given no more than the one who waits, and a take."""
    turns = FairQueue(most_waiting=100)
    waiting = turns.join("patient", length)
    given_to: Counter[str] = Counter()
    longest = max(each for _, each in wishes)
    for _ in range(2000):
        for visitor, each in wishes:
            if sum(ticket.visitor == visitor for ticket in turns.order()) < 2:
                turns.join(visitor, each)
        ticket = made(turns)
        if ticket is waiting:
            break
        given_to[ticket.visitor] += ticket.length
    else:
        raise AssertionError("it was never made")
    assert all(seconds <= length + longest for seconds in given_to.values())


@given(WISHES, st.integers(1, 3), st.integers(1, 2), st.data())
def test_every_take_is_made_once_and_no_more_of_each_visitor_at_a_time_than_they_may_have(
    wishes: list[tuple[str, float]], at_once: int, each_at_once: int, data: st.DataObject
) -> None:
    turns = FairQueue(
        most_waiting=100,
        each_at_once=each_at_once,
        admits=lambda _, made: len(made) < at_once,
    )
    joined = [turns.join(*wish) for wish in wishes]
    begun: list[Ticket] = []
    running: list[Ticket] = []
    while turns.order() or running:
        while (ticket := turns.next()) is not None:
            begun.append(ticket)
            running.append(ticket)
        assert 1 <= len(running) <= at_once
        assert max(Counter(ticket.visitor for ticket in running).values()) <= each_at_once
        turns.leave(running.pop(data.draw(st.integers(0, len(running) - 1))))
    assert sorted(map(id, begun)) == sorted(map(id, joined))
    for visitor in "abcd":
        own = [ticket for ticket in joined if ticket.visitor == visitor]
        assert [ticket for ticket in begun if ticket.visitor == visitor] == own


@given(WISHES, st.sets(st.integers(0, 29)))
def test_whoever_leaves_is_as_if_never_there(
    wishes: list[tuple[str, float]], leaving: set[int]
) -> None:
    some, fewer = FairQueue(most_waiting=100), FairQueue(most_waiting=100)
    joined = [some.join(*wish) for wish in wishes]
    for index, ticket in enumerate(joined):
        if index in leaving:
            some.leave(ticket)
            some.leave(ticket)  # said twice
    for index, wish in enumerate(wishes):
        if index not in leaving:
            fewer.join(*wish)
    left = len(fewer.order())
    orders = [
        [(ticket.visitor, ticket.length) for ticket in each.order()] for each in (some, fewer)
    ]
    assert orders[0] == orders[1]
    assert [some.place(ticket) for ticket in some.order()] == [*range(1, left + 1)]


def test_the_line_is_bounded_for_all_and_for_each() -> None:
    turns = FairQueue(most_waiting=4, most_each=2)
    for _ in range(3):
        turns.join("greedy", 10)
    with pytest.raises(QueueFull, match="full for you: 2 of yours wait already"):
        turns.join("greedy", 10)
    turns.join("other", 10)
    turns.join("third", 10)
    with pytest.raises(QueueFull, match="queue is full: 4 waiting"):
        turns.join("fourth", 10)
    made(turns)
    turns.join("fourth", 10)


def test_where_nobody_may_wait_one_take_is_made() -> None:
    turns = FairQueue(most_waiting=0, most_each=3)
    ticket = turns.join("owner", 10)
    with pytest.raises(QueueFull):
        turns.join("other", 10)
    assert turns.next() is ticket
    turns.leave(ticket)
    turns.join("other", 10)


def test_whoever_is_next_is_not_overtaken_by_one_who_would_fit() -> None:
    """Else a large wish would never be made while small ones come."""
    turns = FairQueue(
        most_waiting=9,
        admits=lambda ticket, made: ticket.wish + sum(each.wish for each in made) <= 4,
    )
    small = turns.join("small", 10, wish=1)
    assert turns.next() is small
    large = turns.join("large", 1, wish=4)
    turns.join("another", 20, wish=1)
    assert turns.next() is None
    turns.leave(small)
    assert turns.next() is large

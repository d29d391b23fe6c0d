"""What a page works out for its visitors: nobody makes the others wait for all that they ask."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from fastapi import HTTPException

from musicgen_space.page.visitors.page_work import PageWork
from tests.page.test_session import visitor

GREEDY, OTHER, THIRD = (visitor(host=f"8.8.8.{number}") for number in range(3))


def test_who_asks_for_much_does_not_hold_up_another_visitor() -> None:
    done: list[str] = []

    def picture(whose: str) -> None:
        time.sleep(0.01)
        done.append(whose)

    async def everybody() -> None:
        ask = PageWork().in_turn(picture)
        greedy = [asyncio.ensure_future(ask("greedy", GREEDY)) for _ in range(20)]
        await asyncio.sleep(0.02)
        await ask("other", OTHER)
        await asyncio.gather(*greedy)

    asyncio.run(everybody())
    assert len(done) == 21
    assert done.index("other") < 10


def test_few_jobs_are_done_at_a_time_and_one_for_each_visitor() -> None:
    lock = threading.Lock()
    running: list[str] = []
    together: list[list[str]] = []

    def loudness(whose: str) -> str:
        with lock:
            running.append(whose)
            together.append([*running])
        time.sleep(0.01)
        with lock:
            running.remove(whose)
        return whose

    async def everybody() -> list[str]:
        ask = PageWork().in_turn(loudness)
        visitors = {"greedy": GREEDY, "other": OTHER, "third": THIRD}
        asked = [ask(name, each) for _ in range(4) for name, each in visitors.items()]
        return await asyncio.gather(*asked)

    assert asyncio.run(everybody()) == ["greedy", "other", "third"] * 4
    assert max(map(len, together)) == 2
    assert all(len({*each}) == len(each) for each in together)


def test_who_asks_for_too_much_at_once_is_refused_until_some_of_it_is_done() -> None:
    async def everybody() -> list[Any]:
        work = PageWork()
        ask = work.in_turn(lambda wish: wish)
        answers = await asyncio.gather(
            *(ask(number, GREEDY) for number in range(100)),
            ask("other", OTHER),
            return_exceptions=True,
        )
        assert await ask("again", GREEDY) == "again"
        assert not work._places  # nothing is remembered of who has asked
        return answers

    *answers, other = asyncio.run(everybody())
    assert answers[:32] == [*range(32)]
    assert {type(answer) for answer in answers[32:]} == {HTTPException}
    assert answers[32].status_code == 429
    assert other == "other"


def test_a_job_that_fails_leaves_its_place_to_the_next() -> None:
    async def twice() -> list[Any]:
        ask = PageWork().in_turn(lambda wish: 1 / wish)
        return await asyncio.gather(ask(0, OTHER), ask(1, OTHER), return_exceptions=True)

    failed, done = asyncio.run(twice())
    assert isinstance(failed, ZeroDivisionError)
    assert done == 1

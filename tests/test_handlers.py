"""What the page's handlers let through, above all where somebody's credits are spent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import gradio as gr
import numpy as np
import pytest

from musicgen_space.backends.base import HostedBackend, ModelChoice, Update
from musicgen_space.request import LIMITS, MusicRequest, Receipt, Take
from musicgen_space.settings import Settings
from musicgen_space.ui.handlers import Studio
from musicgen_space.ui.live import LiveSound

NUMBERS = tuple(limit.default for limit in LIMITS.values())


class Hosted(HostedBackend):
    """A hosted service that notes who paid for what."""

    name, label, about = "hosted", "Hosted", "costs a credit"
    knobs = frozenset({"prompt", "duration", "seed"})
    typical_price = 1.0

    def __init__(self, payer: str = "owner", paid: list[tuple[str, str]] | None = None) -> None:
        self.payer, self.paid = payer, [] if paid is None else paid
        self.credits = 5.0

    def models(self) -> list[ModelChoice]:
        return [ModelChoice("model", "")]

    @property
    def has_key(self) -> bool:
        return True

    def with_key(self, key: str) -> Self:
        return type(self)(key.strip(), self.paid)

    def balance(self) -> float:
        return self.credits

    def generate(self, request: MusicRequest, stop: threading.Event) -> Iterator[Update]:
        self.paid.append((self.payer, request.prompt))
        samples = np.zeros((1, 3200), np.float32)
        yield Take(samples, 32000, request, "hosted", "model", 1.0, receipt=Receipt(1.0, 0.5))


@pytest.fixture
def hosted() -> Hosted:
    return Hosted()


@pytest.fixture
def studio(hosted: Hosted, tmp_path: Path) -> Studio:
    """A public page whose owner lets each visitor have two takes an hour."""
    settings = Settings(host="0.0.0.0", segmind_takes_per_visitor=2)
    return Studio({"hosted": hosted}, settings, LiveSound(), str(tmp_path))


def visitor(session: str = "tab", host: str = "8.8.8.8", noted: str = "") -> Any:
    headers = {"x-forwarded-for": noted} if noted else {}
    return SimpleNamespace(session_hash=session, headers=headers, client=SimpleNamespace(host=host))


def wish(key: str = "", prompt: str = "jazz") -> tuple[Any, ...]:
    return ("hosted", key, "model", prompt, *NUMBERS)


def press_generate(studio: Studio, who: Any, *what: Any) -> dict[str, Any]:
    studio.begin(who, *what)
    return list(studio.make(who, *what))[-1][0]


def test_a_take_on_ones_own_key_is_paid_by_it(studio: Studio, hosted: Hosted) -> None:
    assert press_generate(studio, visitor(), *wish("mine"))["phase"] == "done"
    assert hosted.paid == [("mine", "jazz")]


@pytest.mark.parametrize("key", ["", " ", "\t"])
def test_the_owners_key_has_a_limit_for_each_visitor(
    studio: Studio, hosted: Hosted, key: str
) -> None:
    for session in ("first tab", "reloaded"):
        press_generate(studio, visitor(session), *wish(key))
    with pytest.raises(gr.Error, match="You have had 2 takes"):
        press_generate(studio, visitor("again"), *wish(key))
    press_generate(studio, visitor("another", host="9.9.9.9"), *wish(key))
    assert [payer for payer, _ in hosted.paid] == ["owner"] * 3


def test_making_without_asking_first_spends_nothing(studio: Studio, hosted: Hosted) -> None:
    assert next(studio.make(visitor(), *wish()))[0]["phase"] == "failed"
    assert hosted.paid == []


def test_one_permit_is_for_one_take_of_that_wish(studio: Studio, hosted: Hosted) -> None:
    studio.begin(visitor(), *wish("mine", "jazz"))
    assert next(studio.make(visitor(), *wish("mine", "techno")))[0]["phase"] == "failed"
    studio.begin(visitor(), *wish("mine", "jazz"))
    assert next(studio.make(visitor(), *wish("", "jazz")))[0]["phase"] == "failed"
    press_generate(studio, visitor(), *wish("mine"))
    assert next(studio.make(visitor(), *wish("mine")))[0]["phase"] == "failed"
    assert hosted.paid == [("mine", "jazz")]


@pytest.mark.parametrize(
    ("host", "noted"),
    [
        ("8.8.8.8", "1.1.1.{}"),  # nobody in between: what a visitor writes does not count
        ("10.0.0.7", "1.1.1.{}, 8.8.4.4"),  # a proxy, which appends whom it speaks for
        ("10.0.0.7", "1.1.1.{}, 8.8.4.4, 10.0.0.9"),  # two proxies
        ("2001:4860:4860::{}", ""),  # one home's many addresses
    ],
)
def test_a_visitor_can_not_pass_for_many(
    studio: Studio, hosted: Hosted, host: str, noted: str
) -> None:
    for number in (1, 2):
        who = visitor(str(number), host.format(number), noted.format(number))
        press_generate(studio, who, *wish())
    with pytest.raises(gr.Error):
        press_generate(studio, visitor("3", host.format(3), noted.format(3)), *wish())
    assert len(hosted.paid) == 2


def test_a_balance_below_the_price_warns_once(studio: Studio, hosted: Hosted) -> None:
    press_generate(studio, visitor(), *wish("mine"))  # its receipt: 0.5 credits left
    with pytest.raises(gr.Error, match="below the price"):
        press_generate(studio, visitor(), *wish("mine"))
    press_generate(studio, visitor(), *wish("mine"))
    assert len(hosted.paid) == 2


def test_visitors_do_not_see_the_owners_balance(studio: Studio) -> None:
    assert "5.00" not in studio.money(visitor(), "hosted", "")
    assert "5.00 credits" in studio.money(visitor(), "hosted", "mine")


def test_what_somebody_typed_is_no_html_in_an_error(studio: Studio) -> None:
    with pytest.raises(gr.Error) as caught:
        studio.begin(visitor(), "<img src=x>", "", "model", "jazz", *NUMBERS)
    assert "<img" not in str(caught.value)

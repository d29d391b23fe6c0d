"""The offer of a better model: who sees it, and what is chosen once the model is here."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr
import pytest

from musicgen_space.backends.base import ModelChoice
from musicgen_space.backends.upgrade import Upgrade
from musicgen_space.page.offer.offer import chosen_now
from musicgen_space.page.page import build_page
from musicgen_space.settings import Settings
from tests.page.test_session import Home

SMALL, LARGE = "facebook/musicgen-small", "facebook/musicgen-large"


class Improvable(Home):
    """A backend with a better model to be had, which notes that it gets ready."""

    ready = 0

    def __init__(self) -> None:
        self.upgrade = Upgrade(
            SMALL, 1, is_worth_it=lambda: True, download=lambda _: None, adopt=lambda: None
        )

    def models(self) -> list[ModelChoice]:
        return [ModelChoice("musicgen-nano", ""), ModelChoice(SMALL, ""), ModelChoice(LARGE, "")]

    def warm_up(self) -> None:
        self.ready += 1


@pytest.mark.parametrize(("host", "offered"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_only_the_owner_is_offered_a_download(host: str, offered: bool) -> None:
    async def parts() -> set[str | None]:
        page = build_page({"home": Improvable()}, Settings(host=host))
        return {block.elem_id for block in page.blocks.values()}

    # In an event loop: the page takes the running one, or leaves one open.
    assert ("offer" in asyncio.run(parts())) == offered


@pytest.mark.parametrize(
    ("backend", "model", "expected"),
    [
        ("home", "musicgen-nano", [SMALL, {"home": SMALL, "away": "a"}, True]),
        ("away", "musicgen-nano", [gr.skip(), {"home": SMALL, "away": "a"}, True]),
        ("home", LARGE, [gr.skip(), gr.skip(), False]),
    ],
)
def test_whoever_has_picked_another_model_meanwhile_keeps_it(
    backend: str, model: str, expected: list[Any]
) -> None:
    place = Improvable()
    *updates, told = chosen_now(
        place, "musicgen-nano", SMALL, backend, {"home": model, "away": "a"}
    )
    assert [*updates, told["chosen"]] == expected
    assert place.ready == told["chosen"]

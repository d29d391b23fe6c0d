"""The offer of a better model, against a local hub that has a tiny one by its name."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.browser.test_accessibility import findings
from tests.browser.test_languages_page import make
from tests.servers.app import serving
from tests.servers.hub import hub_of

SMALL = "facebook/musicgen-small"
PATIENCE = 90_000


class Line:
    """What a request meets on its way to the hub: nothing, a broken line, or a slow one."""

    def __init__(self) -> None:
        self.broken = False
        self.fast = threading.Event()

    def __call__(self, path: str) -> bool:
        if path.endswith("model.safetensors") and not self.broken:
            self.fast.wait(120)
        return not self.broken


@pytest.fixture(scope="module")
def line() -> Line:
    return Line()


@pytest.fixture(scope="module")
def home(line: Line, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page on a machine that has no model but its own."""
    folder = tmp_path_factory.mktemp("home")
    with hub_of(tiny_folder, answers=line, **{SMALL: tiny_folder}) as hub:
        cache = {"HF_HOME": str(folder / "hub"), "MUSICGEN_CACHE": str(folder / "cache")}
        at_hub = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HUB_DOWNLOAD_TIMEOUT": "120"}
        command = ("-m", "tests.browser.offer_page")
        with serving(folder / "log", *command, **cache, **at_hub) as url:
            yield url
        line.fast.set()


def toasts(page: Page) -> int:
    return page.locator(".toast-body").count()


def test_a_hub_out_of_reach_is_told_once_and_the_offer_can_be_put_away_for_good(
    browser: Browser, home: str, line: Line
) -> None:
    line.broken = True
    with opened(browser, home, PATIENCE) as page:
        offer = page.locator(".offer")
        expect(offer).to_contain_text("sounds far better")
        assert findings(page) == []
        offer.get_by_role("button", name="Download").click()
        told = offer.get_by_role("status")
        expect(told).to_contain_text("The download did not work: ")
        expect(told).to_contain_text("the model hub can't be reached")
        expect(offer.get_by_role("button", name="Download")).to_be_focused()
        assert toasts(page) == 0
        page.reload()
        expect(offer).to_contain_text("sounds far better")
        expect(told).to_have_text("")
        offer.get_by_role("button", name="Not now").click()
        expect(offer).to_be_hidden()
        with page.expect_response(re.compile("component_server")):
            page.reload()
        make(page)
        expect(page.locator(".player .facts")).to_contain_text("musicgen-nano", timeout=PATIENCE)
        expect(offer).to_be_hidden()
    line.broken = False


def test_one_press_brings_a_better_model_while_the_other_goes_on_making_music(
    browser: Browser, home: str, line: Line
) -> None:
    with opened(browser, home, PATIENCE) as page:
        offer, model = page.locator(".offer"), page.locator("#model input")
        offer.get_by_role("button", name="Download").click()
        expect(offer.get_by_role("progressbar")).to_be_visible()
        expect(offer).to_contain_text(re.compile(rf"Downloading {SMALL}: 0\.\d of \d\.\d GB"))
        expect(offer.get_by_role("button", name="Stop")).to_be_focused()
        assert findings(page) == []
        make(page)
        expect(page.locator(".player .facts")).to_contain_text("musicgen-nano", timeout=PATIENCE)
        expect(model).to_have_value(re.compile("musicgen-nano"))
        page.locator("#backend label").nth(1).click()
        expect(offer).to_be_hidden()
        page.locator("#backend label").first.click()
        expect(offer).to_be_visible()
        line.fast.set()
        expect(offer.get_by_role("status")).to_have_text(
            f"{SMALL} is here, and chosen from now on."
        )
        expect(model).to_have_value(re.compile(SMALL))
        make(page, "upbeat funk")
        expect(page.locator(".player .facts")).to_contain_text(SMALL, timeout=PATIENCE)
        assert toasts(page) == 0
        page.reload()
        expect(model).to_have_value(re.compile(SMALL))
        expect(offer).to_be_hidden()

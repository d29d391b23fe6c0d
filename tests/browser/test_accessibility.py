"""Whether the page serves those who can not see or use a mouse: axe-core, the order of focus."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened

# What a finger presses, all but Gradio's own links at the foot, and too low to be hit.
TOO_LOW = """() => [...document.querySelectorAll(
  "gradio-app main :is(button, summary, a, [role=tab], input[type=search], input[type=number])"
)].filter((node) => node.checkVisibility({ visibilityProperty: true }))
  .filter((node) => node.getBoundingClientRect().height < 42)
  .map((node) => node.outerHTML)"""

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}


@pytest.fixture
def page(humming: Page) -> Page:
    return humming


def findings(page: Page) -> list[str]:
    """What axe-core finds that is serious: rule, where, and why."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']} at {node['target']}: {node.get('failureSummary', '')}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_is_found_at_first_sight(page: Page, scheme: str) -> None:
    page.goto(f"{page.url}?__theme={scheme}")
    page.wait_for_selector("#generate")
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(500)  # colours fade in
        assert findings(page) == []


def test_nothing_serious_is_found_with_takes_and_all_sections_open(page: Page) -> None:
    page.get_by_label("Describe the music").fill("jazz for all")
    page.locator("#duration input[type=number]").fill("1")
    for title in ("Your own sound", "More control", "Sound finish"):
        page.get_by_role("button", name=title).click()
    page.locator("#variations input[type=number]").fill("2")
    page.locator("#variations input[type=number]").press("Tab")
    page.click("#generate")
    expect(page.locator(".player")).to_have_attribute("data-phase", "done", timeout=90_000)
    expect(page.locator("#library .take").filter(has_text="jazz for all")).to_have_count(2)
    page.wait_for_timeout(500)  # colours fade in
    assert findings(page) == []
    page.get_by_role("button", name="Blind").click()
    assert findings(page) == []


def test_the_keyboard_goes_through_the_page_from_top_to_bottom(page: Page) -> None:
    page.locator("#backend input:checked").focus()
    places = ["header"]
    for _ in range(100):
        page.keyboard.press("Tab")
        place = page.evaluate("document.activeElement.closest('#columns > *, #header')?.id")
        places += [place] if place else []
        if place == "result":
            break
    assert [*dict.fromkeys(places)] == ["header", "wish", "result"]


def test_fingers_hit_what_they_aim_at(browser: Browser, fast: str) -> None:
    with opened(browser, fast, 60_000, 390, has_touch=True, is_mobile=True) as page:
        page.locator(".summary").tap()
        for title in ("Your own sound", "More control", "Sound finish"):
            page.get_by_role("button", name=title).tap()
        expect(page.locator("#variations")).to_be_visible()
        assert page.evaluate(TOO_LOW) == []

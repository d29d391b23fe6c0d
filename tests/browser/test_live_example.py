"""The example of live music for programs: the mouse changes what is heard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import LISTEN, foreign
from tests.server.fixtures import Api, serving_api, settings_in, until


@contextmanager
def shown(browser: Browser, api: Api) -> Iterator[Page]:
    """The example; fails on a script error and on a request to another host."""
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
    page.on("request", lambda request: problems.extend(foreign(request.url, api.url)))
    page.add_init_script(LISTEN)
    page.goto(f"{api.url}/v1/live")
    yield page
    page.close()
    assert not problems


def test_the_mouse_steers_what_is_heard_without_a_gap(browser: Browser, tmp_path: Path) -> None:
    with serving_api(settings_in(tmp_path)) as api:
        with shown(browser, api) as page:
            page.mouse.move(500, 400)
            page.mouse.down()
            page.mouse.up()
            until(lambda: page.evaluate("window.heard.length") >= 8)
            wish = api.studio.wishes[0]
            assert (wish.balance, wish.request.temperature) == (0.5, 1.0)
            assert wish.request.prompt == "lo-fi piano"
            expect(page.locator("#heard")).to_have_text("lo-fi piano")
            page.mouse.move(800, 200)
            until(lambda: api.studio.wishes[-1].balance == 0.8)
            assert api.studio.wishes[-1].request.temperature == 1.25
            until(lambda: page.evaluate("window.heard.at(-1).peak") == pytest.approx(0.8, abs=1e-3))
            page.mouse.down()
            page.mouse.up()
            until(lambda: api.studio.wishes[-1].request.prompt == "calm strings")
            expect(page.locator("#heard")).to_have_text("calm strings")
            heard = page.evaluate("window.heard")
            assert heard[0]["peak"] == pytest.approx(0.5, abs=1e-3)
            later = heard[4:]  # than a second of sound was there
            ends = [each["when"] + each["seconds"] for each in later]
            assert ends[:-1] == pytest.approx([each["when"] for each in later[1:]])
        until(lambda: api.studio.room.requests == [])


def test_where_others_can_reach_the_server_it_asks_for_a_key(
    browser: Browser, tmp_path: Path
) -> None:
    with (
        serving_api(settings_in(tmp_path, host="0.0.0.0")) as api,
        shown(browser, api) as page,
    ):
        key = page.get_by_label("Key of the API")
        expect(key).to_be_hidden()
        page.mouse.click(500, 100)
        expect(page.get_by_role("status")).to_have_text("Invalid or missing API key")
        key.fill(api.key)
        page.mouse.click(500, 100)
        until(lambda: page.evaluate("window.heard.length") >= 2)
        assert api.key not in page.url

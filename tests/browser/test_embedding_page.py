"""The page where others bring it: below a path, in frames, as a component of another page.

The other page is at localhost, ours at 127.0.0.1: to a browser these are two sites.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Frame, Page, expect

from musicgen_space.request import MusicRequest
from tests.browser.conftest import LISTEN, WATCH_SHIFTS, launched, shown
from tests.browser.test_page import PLAYING, download_as, finished, generate
from tests.browser.test_sharing_page import FILE, take_file
from tests.servers.app import serving
from tests.servers.host_page import hosting
from tests.servers.reverse_proxy import behind_a_proxy
from tests.test_docs import snippets

PREFIX = "/music"
FRAME, SMALL_FRAME, COMPONENT = snippets("embedding.md", "html")
HOSTILE = """<style>
  * { all: revert; }
  button { display: none; }
  p { font-size: 40px; }
</style>"""
BEGUN = "!document.querySelector('.player').dataset.take.startsWith('example')"

# The take may be over before anybody looks.
SEE_STOP = """() => {
  window.stoppable = false;
  const look = () => { stoppable ||= document.querySelector("#stop")?.checkVisibility(); };
  const everything = { subtree: true, childList: true, attributes: true };
  new MutationObserver(look).observe(document, everything);
}"""

FOCUSED = "(({ dataset, id, tagName }) => dataset.part || id || tagName)(document.activeElement)"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page for everybody behind a proxy, with what a Space has in its environment."""
    log, command = tmp_path_factory.mktemp("reached") / "log", ("-m", "tests.browser.fast_page")
    with serving(log, *command, GRADIO_ROOT_PATH=PREFIX, GRADIO_SSR_MODE="True") as url:
        yield url


@contextmanager
def on_another_page(
    browser: Browser, body: str, ours: str, host: str = "localhost", patience: float = 60_000
) -> Iterator[Page]:
    """Another page with ``body``, freshly opened; fails on anything that went wrong in there."""
    problems: list[str] = []
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.set_default_timeout(patience)
    page.add_init_script(LISTEN + WATCH_SHIFTS)
    page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
    with hosting(body.replace("https://music.example", ours)) as port:
        theirs = f"http://{host}:{port}/"
        good = (ours, theirs, "data:", "blob:")
        page.on("request", lambda it: None if it.url.startswith(good) else problems.append(it.url))
        page.goto(theirs)
        yield page
        page.close()
    assert not problems


def framed(page: Page) -> Frame:
    page.frame_locator("iframe").locator("#generate").wait_for()
    return page.frames[1]


def make(frame: Frame, prompt: str = "sad piano") -> None:
    frame.fill("#prompt textarea", prompt)
    frame.click("#generate")
    frame.wait_for_function(f"{BEGUN} && {PLAYING} !== ''")


def test_own_routes_answer_where_gradio_is_asked_to_have_pages_made_by_node(served: str) -> None:
    with urllib.request.urlopen(f"{served}/healthz") as response:
        assert json.load(response)["status"] == "ok"


@pytest.mark.parametrize("strips", [True, False], ids=["stripped", "left"])
def test_behind_a_proxy_the_page_works_below_a_path(
    browser: Browser, served: str, tmp_path: Path, strips: bool
) -> None:
    with behind_a_proxy(served, PREFIX, strips=strips) as proxy:
        for closed in ("monitoring", f"{PREFIX[1:]}/monitoring"):
            with pytest.raises(urllib.request.HTTPError, match="404"):
                urllib.request.urlopen(f"{proxy.address}{closed}")
        with urllib.request.urlopen(f"{proxy.address}healthz") as response:
            assert json.load(response)["status"] == "ok"
        page = browser.new_page()
        with shown(page, proxy.address, 60_000):
            generate(page, "sad piano", seconds=2)
            page.wait_for_function(f"{PLAYING} !== ''")
            finished(page)
            with page.expect_download() as download:
                download_as(page, "FLAC")
            assert download.value.suggested_filename == "sad-piano-seed42.flac"
            page.set_input_files(FILE, take_file(tmp_path, MusicRequest("church organ")))
            expect(page.locator("#prompt textarea")).to_have_value("church organ")
            page.evaluate("document.execCommand = () => false")
            page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
            page.get_by_role("button", name="Copy link").click()
            link = page.get_by_role("textbox", name="Link to these settings").input_value()
            assert link.startswith(f"{proxy.address}?prompt=sad+piano&")
        assert made_by_a_program(proxy.address)


def made_by_a_program(address: str) -> bytes:
    """A sound file, asked for as docs/programs.md does with curl."""
    url = f"{address}gradio_api/call/v2/generate"
    wish = urllib.request.Request(url, json.dumps({"prompt": "jazz", "duration": 1}).encode())
    wish.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(wish) as response:
        call = json.load(response)["event_id"]
    with urllib.request.urlopen(f"{url}/{call}") as response:
        [file] = set(re.findall(r'"url": ?"([^"]+)"', response.read().decode()))
    assert file.startswith(address)
    with urllib.request.urlopen(file) as response:
        return bytes(response.read())


def test_in_a_frame_that_may_do_nothing_the_page_says_what_it_can_not(
    browser: Browser, served: str
) -> None:
    body = f'<iframe src="{served}/" width="900" height="700"></iframe>'
    with on_another_page(browser, body, served) as page:
        frame = framed(page)
        make(frame)
        frame.evaluate("document.execCommand = () => false")
        frame.get_by_role("button", name="Copy link").click()
        link = frame.get_by_role("textbox", name="Link to these settings")
        expect(link).to_be_focused()
        assert link.input_value().startswith(f"{served}/?prompt=sad+piano&")
        assert frame.evaluate("getSelection().toString()") == link.input_value()
        frame.get_by_role("button", name="Your own sound").click()
        frame.get_by_role("button", name="Record audio").click()
        frame.get_by_role("button", name="Record", exact=True).click()
        expect(frame.locator("#own-about")).to_contain_text("The page around this one allows it no")


def test_in_a_frame_that_may_use_it_the_microphone_records(browser: Browser, served: str) -> None:
    fake = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with (
        closing(launched(browser.browser_type, *fake)) as listening,
        on_another_page(listening, FRAME, served) as page,
    ):
        frame = framed(page)
        frame.get_by_role("button", name="Your own sound").click()
        frame.get_by_role("button", name="Record audio").click()
        frame.get_by_role("button", name="Record", exact=True).click()
        stop = frame.get_by_role("button", name="Stop", exact=True)
        frame.wait_for_function("document.querySelector('#sound').innerText.includes('0:01')")
        stop.click()
        expect(frame.locator("#picker [data-part=name]")).to_be_visible()


def test_where_nothing_can_be_stored_takes_are_kept_for_the_tab(
    browser: Browser, served: str
) -> None:
    """As in a sandbox, so where a browser keeps nothing for frames of other sites."""
    ours = served.replace("127.0.0.1", "music.test")
    body = f'<iframe sandbox="allow-scripts" src="{ours}/" width="900" height="700"></iframe>'
    with on_another_page(browser, body, ours, host="blog.test") as page:
        frame = framed(page)
        with pytest.raises(Exception, match="SecurityError"):
            frame.evaluate("localStorage.length")
        make(frame)
        expect(frame.locator(".library .name")).to_have_text("sad piano")
        expect(frame.get_by_text("your takes are found in this tab only")).to_be_visible()


def test_components_on_a_hostile_page_are_each_on_their_own(browser: Browser, served: str) -> None:
    second = COMPONENT.partition("\n")[2].replace("<gradio-app", '<gradio-app data-view="player"')
    body = f"""{HOSTILE}<div style="height: 2000px"><input id="prompt"></div>
        <div id="one">{COMPONENT}</div><div id="two">{second}</div>"""
    body = body.replace("<gradio-app", '<gradio-app eager="true"')
    with on_another_page(browser, body, served) as page:
        one, two = page.locator("#one"), page.locator("#two")
        for each in (one, two):
            expect(each.locator("#generate")).to_be_visible()
        assert page.evaluate("[scrollY, document.activeElement.tagName]") == [0, "BODY"]
        expect(one.locator(".words").get_by_role("button", name="jazz")).to_be_visible()
        expect(two.locator(".words")).to_be_hidden()
        for key in ("k", "?", "Control+Enter"):  # is the other page's
            page.keyboard.press(key)
        expect(page.locator("dialog[open]")).to_have_count(0)

        two.locator("#prompt textarea").fill("jazz")
        two.locator("#prompt textarea").press("Control+Enter")
        expect(two.locator(".player")).to_have_attribute("data-playing", "live")
        expect(two.locator("[data-part=title]")).to_have_text("jazz")
        expect(one.locator(".player")).to_have_attribute("data-take", "example-lo-fi")
        expect(one.locator(".player")).to_have_attribute("data-playing", "")
        expect(one.locator("#prompt textarea")).to_have_value("")
        # They share their visitor, and the loudspeaker.
        expect(one.locator(".library .name")).to_have_text("jazz")
        one.locator("[data-key=example-funk]").click()
        expect(one.locator(".player")).to_have_attribute("data-playing", "file")
        expect(two.locator(".player")).to_have_attribute("data-playing", "")
        expect(two.locator("#prompt textarea")).to_have_value("jazz")
        link = two.get_by_role("link", name="Open the whole page")
        expect(link).to_have_attribute("href", f"{served}/?prompt=jazz")
        assert page.evaluate("document.title") == "Host"


def test_only_pages_of_this_machine_may_read_what_one_on_localhost_answers(served: str) -> None:
    def answer_to(origin: str, path: str, host: str = "localhost") -> str:
        asked = {"Origin": origin, "Host": host}
        request = urllib.request.Request(f"{served}{path}", headers=asked)
        with urllib.request.urlopen(request) as response:
            return str(response.headers.get("Access-Control-Allow-Origin"))

    for path in ("/config", "/embed.js", "/healthz"):
        assert answer_to("https://evil.example", path) == "None"
        assert answer_to("null", path) == "None"
        assert answer_to("http://localhost:8000", path) == "http://localhost:8000"
        assert answer_to("https://blog.example", path, "music.example") == "https://blog.example"


def test_the_player_s_view_is_prompt_generate_and_player_only(
    browser: Browser, served: str
) -> None:
    body = SMALL_FRAME.replace('width="400"', 'width="320"').replace('height="320"', 'height="400"')
    with on_another_page(browser, body, served) as page:
        frame = framed(page)
        link = frame.get_by_role("link", name="Open the whole page")
        expect(frame.locator("#prompt textarea")).to_have_value("sad solo piano")
        expect(link).to_have_attribute("href", f"{served}/?prompt=sad+solo+piano&duration=20")
        frame.evaluate(SEE_STOP)
        frame.click("#generate")
        frame.wait_for_function("stoppable")
        frame.wait_for_function(f"{BEGUN} && {PLAYING} !== ''")
        expect(frame.locator("#generate")).to_be_visible()
        reached = []
        frame.locator("#prompt textarea").focus()
        while len(reached) < 20 and "A" not in reached:
            reached.append(frame.evaluate(FOCUSED))
            page.keyboard.press("Tab")
        assert reached == ["TEXTAREA", "generate", "wave", "play", "A"]
        assert frame.evaluate("document.documentElement.scrollHeight <= innerHeight")
        assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert frame.evaluate("window.shifted") < 0.02
        frame.fill("#prompt textarea", "")
        frame.click("#generate")
        expect(frame.get_by_text("prompt must not be empty")).to_be_visible()
        frame.fill("#prompt textarea", "jazz & blues")
        with page.context.expect_page() as opened:
            link.click()
        assert opened.value.url == f"{served}/?prompt=jazz+%26+blues&duration=20"

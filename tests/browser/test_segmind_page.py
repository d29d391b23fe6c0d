"""The page over the hosted API, against its local stand-in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import visited
from tests.browser.test_page import DECODE, PHASE, ask
from tests.servers.app import serving
from tests.servers.segmind import KEY, POOR_KEY, Segmind, running

# Keeps the text of everything that the page fetches from now on.
REMEMBER_ANSWERS = """() => {
  const fetched = window.fetch;
  window.answers = [];
  const keep = async (reader) => {
    for (let part; !(part = await reader.read()).done; ) window.answers.push(part.value);
  };
  window.fetch = async (...what) => {
    const answer = await fetched(...what);
    keep(answer.clone().body.pipeThrough(new TextDecoderStream()).getReader()).catch(() => {});
    return answer;
  };
}"""


@pytest.fixture
def page(humming: Page) -> Page:
    """Where nothing is made on this machine, how it would be does not matter."""
    return humming


@pytest.fixture
def hosted(page: Page, segmind: Segmind) -> Page:
    """The page, switched to Segmind, with a key that has credits."""
    segmind.forget()
    switch(page)
    return page


def switch(page: Page) -> None:
    choose_segmind(page)
    enter_key(page, KEY)
    expect(page.locator("#money")).to_contain_text("10.00 credits left")


def choose_segmind(page: Page) -> None:
    page.get_by_label("Segmind", exact=True).check()
    expect(page.locator("#key")).to_be_visible()


def enter_key(page: Page, key: str) -> None:
    page.fill("#key input", key)
    page.locator("#key input").blur()


def generate(page: Page, prompt: str) -> None:
    ask(page, prompt, seconds=2)
    page.click("#generate")


def ended(page: Page, prompt: str) -> None:
    """Wait for the end of a take that may be over before it is seen to begin."""
    expect(page.locator("[data-part=title]")).to_have_text(prompt)
    page.wait_for_function(f"{PHASE} != 'busy'")
    expect(page.locator("#generate")).to_be_visible()


@pytest.fixture(scope="module")
def troubled(profile: BrowserContext, fast: str, segmind: Segmind) -> Iterator[Page]:
    """A page that has had one trouble after the other; each is a new take."""
    segmind.forget()
    with visited(profile, fast, 60_000) as page:
        switch(page)
        yield page


def failed(page: Page, message: str) -> None:
    page.wait_for_function(f"{PHASE} == 'failed'")
    expect(page.locator("[data-part=status]")).to_contain_text(message)
    expect(page.locator("#generate")).to_be_visible()


def test_a_hosted_take_is_heard_and_paid_once(hosted: Page, segmind: Segmind) -> None:
    generate(hosted, "lo-fi beats")
    ended(hosted, "lo-fi beats")
    sound: dict[str, float] = hosted.evaluate(DECODE)
    assert sound["duration"] == pytest.approx(2, abs=0.05)
    assert sound["level"] > 0.01
    expect(hosted.locator("[data-part=facts]")).to_have_text(
        re.compile(r"^meta-musicgen-medium · seed 42 · 2 s · cost 0\.037 credits · .*request ")
    )
    expect(hosted.locator("#money")).to_contain_text("9.96 credits left")
    assert segmind.accounts[KEY].billed == 1
    hosted.wait_for_function("document.querySelector('.player audio').currentTime > 0.2")


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("#status=401", "key"),
        ("#status=403", "403"),
        ("#status=404", "404"),
        ("#status=405", "405"),
        ("#406=content-type", "media type"),
        ("#406=spend-limit", "spend limit"),
        ("#status=406", "Invalid value for parameter"),
        ("#status=410", "retired"),
        ("#status=429", "again"),
        ("#status=500", "500"),
        ("#cut-billed", "may have been billed"),
        ("#html", "HTML"),
        ("#truncated", "ended in the middle of the answer. It may have been billed"),
        ("#empty", "empty"),
    ],
)
def test_every_trouble_is_told_and_the_prompt_stays(
    troubled: Page, trouble: str, message: str
) -> None:
    prompt = f"jazz {trouble}"
    generate(troubled, prompt)
    ended(troubled, prompt)
    assert troubled.evaluate(PHASE) == "failed"
    status = troubled.locator("[data-part=status]").inner_text()
    assert message.lower() in status.lower()
    assert KEY not in status
    expect(troubled.locator("#prompt textarea")).to_have_value(prompt)


def test_stop_stops_waiting_and_says_that_the_job_may_cost(hosted: Page) -> None:
    generate(hosted, "jazz #slow=20")
    expect(hosted.locator("[data-part=status]")).to_contain_text("Segmind is making the music")
    hosted.click("#stop")
    failed(hosted, "may still be billed")


def test_without_a_key_one_is_asked_for(page: Page) -> None:
    choose_segmind(page)
    generate(page, "jazz")
    expect(page.get_by_text("Segmind needs an API key")).to_be_visible()
    expect(page.locator("#generate")).to_be_visible()


def test_a_low_balance_warns_once_before_spending(page: Page, segmind: Segmind) -> None:
    segmind.forget()
    choose_segmind(page)
    enter_key(page, POOR_KEY)
    expect(page.locator("#money")).to_contain_text("0.01 credits left")
    generate(page, "jazz")
    expect(page.get_by_text("is below the price of a take")).to_be_visible()
    assert segmind.accounts[POOR_KEY].posts == 0
    page.click("#generate")
    failed(page, "credits")


def test_switching_keeps_prompt_and_settings_and_greys_out_what_has_no_effect(page: Page) -> None:
    ask(page, "sad solo piano", seconds=7, seed=99)
    page.get_by_text("More control").click()
    knob = page.locator("#temperature input[type=number]")
    knob.fill("0.8")
    knob.blur()
    choose_segmind(page)
    expect(knob).to_be_disabled()
    expect(page.locator("#temperature")).to_contain_text("Not on Segmind.")
    expect(page.locator("#model input")).to_have_value(re.compile("meta-musicgen-medium"))
    page.get_by_label("This machine", exact=True).check()
    expect(knob).to_be_enabled()
    expect(knob).to_have_value("0.8")
    expect(page.locator("#model input")).to_have_value(re.compile("plain"))
    expect(page.locator("#prompt textarea")).to_have_value("sad solo piano")
    expect(page.locator("#duration input[type=number]")).to_have_value("7")
    expect(page.locator("#seed input[type=number]")).to_have_value("99")


def test_the_key_is_in_nothing_that_the_app_wrote_or_served(hosted: Page, log: Path) -> None:
    addresses: list[str] = []
    hosted.on("request", lambda request: addresses.append(request.url))
    hosted.evaluate(REMEMBER_ANSWERS)
    for prompt in ("jazz", "jazz #status=401", "jazz #echo", "jazz #cut-billed"):
        generate(hosted, prompt)
        ended(hosted, prompt)
    canary = KEY.encode()
    written = [file for file in log.parent.rglob("*") if file.is_file()]
    assert any(file.suffix == ".wav" for file in written)
    assert not [file for file in written if canary in file.read_bytes()]
    assert not [address for address in [*addresses, hosted.url] if KEY in address]
    answers = hosted.evaluate("window.answers.join('')")
    assert "meta-musicgen-medium" in answers  # the take's own stream of updates is among them
    assert KEY not in answers
    stored = hosted.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert KEY not in stored
    assert KEY not in hosted.content()


@pytest.fixture(scope="module")
def no_torch(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A place on Python's path with which torch can't be found, as if it was not installed."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
    )
    return str(folder)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, no_torch: str) -> Iterator[str]:
    """A public page whose owner lets visitors have two takes an hour on their key."""
    log = tmp_path_factory.mktemp("shared") / "log"
    with (
        running(Segmind()) as api,
        serving(
            log,
            SEGMIND_BASE_URL=api,
            SEGMIND_API_KEY=KEY,
            SEGMIND_SHARE_KEY="1",
            SEGMIND_TAKES_PER_VISITOR="2",
            GRADIO_SERVER_NAME="0.0.0.0",
            PYTHONPATH=no_torch,
        ) as url,
    ):
        yield url


def test_visitors_share_the_owners_key_within_a_limit(shared: str, browser: Browser) -> None:
    page = browser.new_page()
    page.set_default_timeout(60_000)
    for visit in range(3):
        page.goto(shared)  # a reload is no new visitor
        page.wait_for_selector("#generate")
        expect(page.locator("#money")).not_to_contain_text("credits left")
        expect(page.locator("#key")).to_have_count(0)
        expect(page.locator("#generate")).to_have_attribute("data-price", "free for you")
        # What a tab remembers comes back first.
        expect(page.locator("#prompt textarea")).to_have_value("jazz" if visit else "")
        generate(page, "jazz")
        if visit < 2:
            ended(page, "jazz")
    expect(page.get_by_text("You have had 2 takes on the owner's key")).to_be_visible()
    page.get_by_role("button", name="Server key ✓ · change").click()
    expect(page.locator("#key")).to_be_visible()
    page.close()


def test_a_page_without_torch_offers_segmind_and_says_how_to_add_the_rest(
    tmp_path: Path, no_torch: str, browser: Browser
) -> None:
    with serving(tmp_path / "log", PYTHONPATH=no_torch) as address:
        page = browser.new_page()
        page.goto(address)
        expect(page.get_by_text("pip install -r requirements.txt")).to_be_visible()
        expect(page.locator("#key")).to_be_visible()
        expect(page.get_by_label("This machine")).to_have_count(0)
        generate(page, "jazz")
        expect(page.get_by_text("needs an API key: enter yours first")).to_be_visible()
        page.close()

from __future__ import annotations

import io
import re
import urllib.request
from itertools import pairwise
from typing import Any

import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect

from musicgen_space.audio.files import read_settings
from tests.browser.conftest import opened

PHASE = "document.querySelector('.player').dataset.phase"
PLAYING = "document.querySelector('.player').dataset.playing"

# What the <audio> element would play, decoded by the browser itself.
DECODE = """async () => {
  const audio = document.querySelector(".player audio");
  while (!audio.getAttribute("src")) await new Promise((resume) => setTimeout(resume, 50));
  while (!audio.duration) await new Promise((resume) => setTimeout(resume, 50));
  const data = await (await fetch(audio.src)).arrayBuffer();
  const sound = await new OfflineAudioContext(1, 1, 32000).decodeAudioData(data);
  const samples = sound.getChannelData(0);
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  return { duration: audio.duration, decoded: sound.duration, level: Math.sqrt(power) };
}"""


def ask(page: Page, prompt: str, seconds: float = 3, seed: int = 42) -> None:
    page.fill("#prompt textarea", prompt)
    if page.locator(".summary[aria-expanded=false]").is_visible():
        page.click(".summary")  # a phone folds the seed away
    for field, value in (("duration", seconds), ("seed", seed)):
        number = page.locator(f"#{field} input[type=number]")
        number.fill(str(value))
        number.blur()


def more_control(page: Page, **numbers: float) -> None:
    page.get_by_text("More control").click()
    for field, value in numbers.items():
        number = page.locator(f"#{field} input[type=number]")
        number.fill(str(value))
        number.blur()


# Sees a take begin that is over before anybody looks again.
SEE_IT_BEGIN = """() => {
  window.begun = false;
  const look = () => {
    window.begun ||= document.querySelector(".player")?.dataset.phase === "busy";
  };
  new MutationObserver(look)
    .observe(document.body, { attributeFilter: ["data-phase"], childList: true, subtree: true });
}"""


def begin(page: Page, button: str) -> None:
    page.evaluate(SEE_IT_BEGIN)
    page.click(button)
    page.wait_for_function("begun")


def generate(page: Page, prompt: str, seconds: float = 3, seed: int = 42) -> None:
    ask(page, prompt, seconds, seed)
    begin(page, "#generate")


def download_as(page: Page, ending: str) -> None:
    """Of the player's formats, one: the button remembers it."""
    page.get_by_role("button", name="Other formats").click()
    page.get_by_role("menuitem", name=f"Download as {ending}").click()
    expect(page.get_by_role("button", name=f"Download as {ending}").first).to_be_visible()


def finished(page: Page) -> None:
    page.wait_for_function(f"{PHASE} == 'done'")
    expect(page.locator("#generate")).to_be_visible()


def test_a_prompt_becomes_music_that_is_heard_while_it_is_made(page: Page) -> None:
    generate(page, "lo-fi music with a soothing melody", seconds=20)
    page.wait_for_function(f"{PLAYING} == 'live' && {PHASE} == 'busy'")
    expect(page.locator("[data-part=status]")).to_have_text(
        re.compile(r"^\d+\.\d of 20 s · \d+\.\d× real time · \d+ s left$")
    )
    finished(page)
    sound: dict[str, float] = page.evaluate(DECODE)
    assert sound["duration"] == pytest.approx(20, abs=0.05)
    assert sound["decoded"] == pytest.approx(20, abs=0.05)
    assert sound["level"] > 0.01
    page.wait_for_function(f"{PLAYING} == ''")
    heard: list[dict[str, float]] = page.evaluate("window.heard")
    assert sum(piece["seconds"] for piece in heard) == pytest.approx(20, abs=0.05)
    assert max(piece["peak"] for piece in heard) > 0.05
    for before, after in pairwise(heard):
        assert after["when"] >= before["when"] + before["seconds"] - 1e-6


def test_the_finished_take_tells_where_it_came_from_and_plays_again(page: Page) -> None:
    generate(page, "sad solo piano", seconds=2, seed=7)
    finished(page)
    expect(page.locator("[data-part=title]")).to_have_text("sad solo piano")
    expect(page.locator("[data-part=facts]")).to_have_text(
        re.compile(r"^musicgen-nano · seed 7 · 2 s · made in .* s, .*× real time$")
    )
    page.wait_for_function(f"{PLAYING} == ''")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("document.querySelector('.player audio').currentTime > 0.3")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("slider", name="Position").press("End")
    page.wait_for_function("document.querySelector('.player audio').currentTime > 1.9")
    page.get_by_text("Spectrogram").click()
    expect(page.locator(".picture img")).to_be_visible()
    page.wait_for_function("document.querySelector('.picture img').naturalWidth > 50")


def test_every_download_is_the_take_with_its_settings_inside(page: Page) -> None:
    generate(page, "church organ, baroque", seconds=2, seed=3)
    finished(page)
    for ending in ("WAV", "FLAC", "OGG", "MP3"):
        with page.expect_download() as download:
            download_as(page, ending)
        name = download.value.suggested_filename
        assert name == f"church-organ-baroque-seed3.{ending.lower()}"
        data = download.value.path().read_bytes()
        assert soundfile.info(io.BytesIO(data)).duration == pytest.approx(2, abs=0.05)
        settings = read_settings(data)
        assert settings is not None
        assert (settings["prompt"], settings["seed"]) == ("church organ, baroque", 3)


def test_stop_in_the_middle_keeps_what_was_made(page: Page) -> None:
    generate(page, "energetic techno, fast", seconds=30)
    page.wait_for_function("window.heard.length > 0")
    page.click("#stop")
    finished(page)
    expect(page.locator("[data-part=facts]")).to_contain_text("(stopped)")
    sound: dict[str, float] = page.evaluate(DECODE)
    assert 1 <= sound["decoded"] < 29
    assert sound["level"] > 0


def test_escape_stops_and_control_enter_generates(page: Page) -> None:
    ask(page, "calm ambient soundscape", seconds=30)
    page.press("#prompt textarea", "Control+Enter")
    page.wait_for_function("window.heard.length > 0")
    expect(page.locator("#generate")).to_be_hidden()
    page.keyboard.press("Escape")
    finished(page)
    expect(page.locator("[data-part=facts]")).to_contain_text("(stopped)")


def test_what_the_chosen_model_can_not_read_is_told_where_it_is_typed(page: Page) -> None:
    notes = page.locator(".text-note")
    prompt = page.locator("#prompt textarea")
    generate(page, "a piece in C♯ with 音乐", seconds=1)  # which the note does not hold up
    expect(notes.nth(0)).to_have_text("The model does not know: ♯, 音乐")
    finished(page)
    prompt.fill("jazz in C#")
    expect(notes.nth(0)).to_have_text("The model does not know: #")
    page.locator("#model input").click()
    page.get_by_role("option", name=re.compile("musicgen-small ")).click()
    expect(notes.nth(0)).to_have_text("")
    page.get_by_text("More control").click()
    for field, note in (("negative-prompt", 1), ("blend-prompt", 2)):
        page.locator(f"#{field} :is(input, textarea)").fill("鼓")
        expect(notes.nth(note)).to_contain_text("The model knows nothing of this")
    page.click("#examples [data-key=example-piano]")
    expect(notes.nth(1)).to_have_text("")


def test_an_example_fills_the_prompt(page: Page) -> None:
    page.click("#examples [data-key=example-piano]")
    expect(page.locator("#prompt textarea")).to_have_value("sad solo piano, slow")


def test_the_first_visit_has_something_to_play(page: Page) -> None:
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_enabled()
    sound: dict[str, float] = page.evaluate(DECODE)
    assert sound["level"] > 0.01


def test_the_dice_draws_a_seed_and_the_last_one_comes_back(page: Page) -> None:
    seed = page.locator("#seed input[type=number]")
    page.click("#dice")
    expect(seed).not_to_have_value("42")
    generate(page, "jazz", seconds=1, seed=-1)
    finished(page)
    page.click("#last-seed")
    drawn = re.search(r"seed (\d+)", page.locator("[data-part=facts]").inner_text())
    assert drawn is not None
    expect(seed).to_have_value(drawn[1])


def test_another_is_made_with_a_new_seed_which_may_leave_the_fields_alone(page: Page) -> None:
    ask(page, "jazz", seconds=1)
    begin(page, ".player [data-part=another]")
    finished(page)
    expect(page.locator("[data-part=title]")).to_have_text("jazz")
    seed = page.locator("#seed input[type=number]")
    expect(seed).not_to_have_value("42")
    drawn = seed.input_value()
    page.get_by_role("button", name="Keep this seed").click()
    begin(page, ".player [data-part=another]")
    finished(page)
    expect(page.locator("[data-part=facts]")).not_to_contain_text(f"seed {drawn} ")
    expect(seed).to_have_value(drawn)


def test_a_second_visitor_need_not_wait_for_the_first(
    page: Page, browser: Browser, address: str
) -> None:
    with opened(browser, address, 90_000) as other:
        ask(other, "techno", seconds=1)
        page.get_by_text("More control").click()
        page.get_by_label("Longer than 30 s").check()
        expect(page.locator("#duration input[type=range]")).to_have_attribute("max", "300")
        generate(page, "jazz", seconds=120)
        page.wait_for_function("window.heard.length > 0")
        begin(other, "#generate")
        finished(other)
        assert page.evaluate(PHASE) == "busy"
        page.click("#stop")


def test_closing_the_tab_stops_the_take(page: Page, browser: Browser, address: str) -> None:
    leaving = browser.new_page()
    leaving.add_init_script("window.heard = []")
    leaving.goto(address)
    generate(leaving, "jazz", seconds=30)
    leaving.wait_for_function("document.querySelector('[data-part=status]').innerText.match(/of/)")
    leaving.close()
    generate(page, "techno", seconds=1)
    # Far less than the rest of thirty seconds of music would take.
    page.wait_for_function(f"{PHASE} == 'done'", timeout=20_000)


@pytest.mark.parametrize("width", [390, 768])
def test_a_small_screen_shows_everything_without_scrolling_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    overflow: Any = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0
    expect(page.locator("#generate")).to_be_in_viewport()
    generate(page, "jazz", seconds=1)
    expect(page.locator(".wave")).to_be_in_viewport()
    finished(page)


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_moves_while_the_page_loads(browser: Browser, address: str, width: int) -> None:
    with opened(browser, address, 90_000, width) as page:
        expect(page.locator("[data-part=title]")).not_to_be_empty()
        page.wait_for_timeout(1000)  # nothing tells that nothing will happen
        assert page.evaluate("window.shifted") < 0.02


def test_nothing_moves_while_a_take_is_made(page: Page) -> None:
    height = "document.querySelector('.player').getBoundingClientRect().height"
    before = page.evaluate(height)
    generate(page, "jazz", seconds=2)
    during = page.evaluate(height)
    finished(page)
    assert before == during == page.evaluate(height)


def test_healthz_answers(address: str) -> None:
    with urllib.request.urlopen(f"{address}/healthz") as response:
        assert response.read() == b'{"status":"ok","backends":["local","segmind"]}'


def test_what_programs_can_call_is_shown_and_nothing_else(page: Page) -> None:
    page.get_by_role("button", name="Use via API").click()
    page.get_by_role("listitem").filter(has_text="cURL").click()
    expect(page.get_by_role("heading", name="2 API endpoints")).to_be_visible()
    expect(page.get_by_text("/generate", exact=True)).to_be_visible()

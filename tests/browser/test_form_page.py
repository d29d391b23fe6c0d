"""The fields of a wish: what they are called, what they take, and what a tab remembers of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.test_library_page import number
from tests.browser.test_own_sound_page import bring, hum, riff
from tests.browser.test_page import PLAYING, ask, finished, more_control
from tests.browser.test_segmind_page import choose_segmind

ACTIVE = "document.activeElement.outerHTML"

# What lies over Generate at some place of it, at any position of the page.
COVERED = """() => {
  const button = document.querySelector("#generate");
  const found = new Set();
  for (let top = 0; top < document.documentElement.scrollHeight; top += 60) {
    window.scrollTo(0, top);
    const { left, top: above, width, height } = button.getBoundingClientRect();
    for (const x of [0.02, 0.3, 0.7, 0.98]) for (const y of [0.15, 0.5, 0.85]) {
      const there = document.elementFromPoint(left + width * x, above + height * y);
      if (there && !there.closest("#generate")) found.add(there.outerHTML.slice(0, 80));
    }
  }
  return [...found];
}"""


def test_nothing_lies_over_generate_at_any_width_and_position(humming: Page) -> None:
    hum(humming, "jazz", seconds=1)
    humming.get_by_text("More control").click()
    humming.get_by_role("button", name="More for jazz").first.click()
    humming.get_by_role("menuitem", name="Delete").click()
    expect(humming.get_by_role("button", name="Undo")).to_be_visible()
    humming.get_by_role("button", name="Undo").hover()  # so it stays
    for width, height in (
        (320, 568),
        (390, 844),
        (844, 390),
        (820, 1180),
        (1024, 600),
        (1920, 900),
    ):
        humming.set_viewport_size({"width": width, "height": height})
        assert humming.evaluate(COVERED) == [], width


def test_an_empty_prompt_is_asked_for_and_one_is_offered(humming: Page) -> None:
    prompt, question = humming.locator("#prompt textarea"), humming.locator(".words .ask")
    prompt.fill("  ")
    humming.click("#generate")
    expect(question).to_contain_text("Describe the music first, or try lo-fi")
    expect(prompt).to_be_focused()
    question.get_by_role("button", name="lo-fi").click()
    expect(prompt).to_have_value("lo-fi")
    expect(question).to_be_hidden()
    humming.click("#generate")
    finished(humming)


def test_an_error_goes_when_the_next_take_is_asked_for(humming: Page) -> None:
    error = humming.get_by_text("prompt must not be empty")
    ask(humming, "\N{ZERO WIDTH SPACE}")
    humming.click("#generate")
    expect(error).to_be_visible()
    ask(humming, "jazz")
    humming.click("#generate")
    expect(error).to_have_count(0)


def test_numbers_are_named_and_completed_when_they_are_left(humming: Page) -> None:
    humming.get_by_text("More control").click()
    for name in ("Length", "Seed", "Guidance"):
        expect(humming.get_by_role("spinbutton", name=name, exact=True)).to_have_count(1)
        expect(humming.get_by_role("slider", name=name, exact=True)).to_have_count(1)
    expect(humming.get_by_role("button", name="Seed: back to 42")).to_be_visible()
    seed = number(humming, "seed")
    for typed, then in (("3.7", "4"), ("", "42"), ("99999", "9999")):
        seed.fill(typed)
        seed.blur()
        expect(seed).to_have_value(then)
    seed.fill("6.2")
    seed.press("Enter")
    expect(seed).to_have_value("6")
    length = number(humming, "duration")
    length.fill("2.5")
    length.blur()
    expect(length).to_have_value("2.5")


def test_a_number_beyond_its_limits_is_told_and_the_nearest_is_taken(humming: Page) -> None:
    length, told = number(humming, "duration"), humming.locator(".limits")
    length.fill("45")
    length.blur()
    expect(length).to_have_value("30")
    expect(told).to_have_text("Length: from 1 to 30, not 45.")
    humming.locator("#duration input[type=range]").press("ArrowLeft")
    expect(told).to_have_count(0)
    expect(length).to_have_value("29.5")
    length.fill("0")
    length.press("Enter")
    expect(told).to_have_text("Length: from 1 to 30, not 0.")
    length.fill("12")
    length.press("Enter")
    expect(told).to_have_count(0)
    expect(length).to_have_value("12")


def test_a_reload_brings_back_what_was_typed_and_a_link_goes_before_it(
    humming: Page, fast: str
) -> None:
    humming.fill("#prompt textarea", "a tango")
    humming.get_by_text("More control").click()
    for field, value in (("seed", "77"), ("temperature", "0.9"), ("duration", "20")):
        number(humming, field).fill(value)
        number(humming, field).blur()
    kept = "sessionStorage.getItem('musicgen-space:wish')"
    humming.wait_for_function(f"{kept}?.includes('\"duration\":20')")
    humming.reload()
    expect(humming.locator("#prompt textarea")).to_have_value("a tango")
    expect(number(humming, "seed")).to_have_value("77")
    for field, value in (("temperature", "0.9"), ("duration", "20")):
        expect(number(humming, field)).to_have_value(value)
    humming.goto(f"{fast}/?prompt=a+waltz&seed=3")
    expect(humming.locator("#prompt textarea")).to_have_value("a waltz")
    expect(number(humming, "seed")).to_have_value("3")
    humming.fill("#prompt textarea", "a slow waltz")
    humming.wait_for_function(f"{kept}?.includes('slow')")
    humming.reload()
    expect(humming.locator("#prompt textarea")).to_have_value("a slow waltz")


def test_what_is_typed_while_the_page_still_loads_stays(humming: Page) -> None:
    ask(humming, "an old song", seed=77)
    humming.wait_for_function("sessionStorage.getItem('musicgen-space:wish')?.includes('77')")
    held: list[Route] = []
    humming.route("**/queue/join*", lambda route: held.append(route))
    humming.reload()
    while not held:
        humming.wait_for_timeout(20)
    humming.fill("#prompt textarea", "a new song")
    humming.unroute("**/queue/join*")  # they go on their way
    expect(number(humming, "seed")).to_have_value("77")
    humming.wait_for_timeout(200)
    expect(humming.locator("#prompt textarea")).to_have_value("a new song")


def test_the_keyboard_is_quickly_at_generate(humming: Page) -> None:
    humming.focus("#prompt textarea")
    stops = 1
    humming.keyboard.press("Tab")
    while humming.evaluate("document.activeElement.id") != "generate":
        shown = humming.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        ring = humming.evaluate("getComputedStyle(document.activeElement).boxShadow")
        assert shown != "none" or ring != "none", humming.evaluate(ACTIVE)
        humming.keyboard.press("Tab")
        stops += 1
    assert stops <= 15
    humming.get_by_role("button", name="jazz", exact=True).focus()
    humming.keyboard.press("ArrowRight")
    expect(humming.get_by_role("button", name="blues", exact=True)).to_be_focused()


def test_the_same_wish_again_is_told_and_made_all_the_same_if_wanted(humming: Page) -> None:
    said = humming.locator(".wishes .made")
    hum(humming, "a polka", seconds=2, seed=7)
    humming.click("#generate")
    expect(said).to_contain_text("Already made.")
    said.get_by_role("button", name="Play").click()
    expect(said).to_be_hidden()
    rows = humming.locator("#library li").filter(has_text="a polka")
    expect(rows).to_have_count(1)
    humming.click("#generate")
    said.get_by_role("button", name="Make it again").click()
    expect(rows).to_have_count(2)
    expect(humming.locator("#generate")).to_be_visible()
    humming.click("#generate")
    said.get_by_role("button", name="New seed").click()
    expect(rows).to_have_count(3)
    expect(rows.filter(has_text=re.compile(r"seed 7\b"))).to_have_count(2)


def test_wishes_may_wait_are_shown_and_can_be_taken_back(page: Page) -> None:
    waiting, names = page.locator(".wishes li"), page.locator("#library .name")
    more_control(page, variations=4)
    ask(page, "sad solo piano", seconds=30)
    page.click("#generate")
    expect(page.locator("#make-next")).to_be_visible()
    for prompt in ("a slow waltz", "a fast waltz"):
        page.fill("#prompt textarea", prompt)
        page.keyboard.press("Control+Enter")
        expect(waiting.filter(has_text=prompt)).to_have_count(1)
    page.get_by_role("button", name="Don't make a slow waltz").click()
    expect(waiting).to_have_count(1)
    page.wait_for_function(PLAYING)  # else nothing is there to be kept
    page.click("#stop")
    expect(page.locator(".player [data-part=title]")).to_have_text("a fast waltz")
    expect(waiting).to_have_count(0)
    expect(names.filter(has_text="sad solo piano")).not_to_have_count(0)
    page.keyboard.press("Escape")


def test_a_length_beyond_30_s_is_seen_where_every_length_is(humming: Page, fast: str) -> None:
    length = humming.locator("#duration input[type=range]")
    longer = humming.get_by_label("Longer than 30 s")
    expect(length).to_have_attribute("max", "30")
    humming.get_by_text("More control").click()
    longer.check()
    expect(length).to_have_attribute("max", "300")
    number(humming, "duration").fill("90")
    number(humming, "duration").blur()
    kept = "sessionStorage.getItem('musicgen-space:wish')"
    humming.wait_for_function(f"{kept}?.includes('\"duration\":90')")
    humming.reload()
    expect(number(humming, "duration")).to_have_value("90")
    expect(length).to_have_attribute("max", "300")
    humming.get_by_text("More control").click()
    longer.uncheck()
    expect(number(humming, "duration")).to_have_value("30")
    expect(length).to_have_attribute("max", "30")
    humming.goto(f"{fast}/?prompt=jazz&duration=60")
    expect(number(humming, "duration")).to_have_value("60")
    expect(longer).to_be_checked()
    choose_segmind(humming)
    expect(number(humming, "duration")).to_have_value("30")
    expect(length).to_have_attribute("max", "30")
    expect(longer).not_to_be_checked()
    expect(longer).to_be_disabled()


def test_closed_sections_say_what_is_set_in_them(humming: Page, tmp_path: Path) -> None:
    more = humming.get_by_role("button", name="More control")
    finish = humming.get_by_role("button", name="Sound finish")
    expect(more.locator(".note")).to_have_text("")
    more.click()
    for field, value in (("temperature", "0.9"), ("variations", "2")):
        number(humming, field).fill(value)
        number(humming, field).blur()
    expect(more).to_contain_text("More control · 2 set")
    finish.click()
    humming.get_by_label("Even loudness").check()
    expect(finish).to_contain_text("Sound finish · 1 set")
    choose_segmind(humming)
    expect(more.locator(".note")).to_have_text("")  # neither has an effect there
    humming.get_by_label("This machine", exact=True).check()
    expect(more).to_contain_text("· 2 set")
    humming.locator("#more").get_by_role("button", name="Back to the defaults").click()
    expect(number(humming, "temperature")).to_have_value("1")
    expect(number(humming, "variations")).to_have_value("1")
    expect(more.locator(".note")).to_have_text("")
    bring(humming, riff(tmp_path))
    own = humming.get_by_role("button", name="Your own sound")
    expect(own).to_contain_text("Your own sound · goes on from riff.wav")
    humming.get_by_role("button", name="Remove").click()
    expect(own.locator(".note")).to_have_text("")


def test_a_phones_first_screen_has_the_prompt_and_something_to_play(humming: Page) -> None:
    humming.set_viewport_size({"width": 390, "height": 844})
    for what in ("#prompt", "#examples", "#duration", ".summary", "#generate"):
        expect(humming.locator(what)).to_be_in_viewport(ratio=1)
    line = humming.get_by_role("button", name="plain · seed 42")
    expect(line).to_have_attribute("aria-expanded", "false")
    expect(humming.locator("#seed")).to_be_hidden()
    line.click()
    expect(humming.locator("#seed")).to_be_visible()
    number(humming, "seed").fill("7")
    number(humming, "seed").blur()
    expect(humming.locator(".summary")).to_have_text("plain · seed 7")
    humming.set_viewport_size({"width": 1280, "height": 900})
    expect(humming.locator(".summary")).to_be_hidden()
    expect(humming.locator("#seed")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_choosing_segmind_moves_nothing(humming: Page, width: int) -> None:
    humming.set_viewport_size({"width": width, "height": 844})
    # In the page: the click itself may scroll.
    top = "document.querySelector('#prompt').getBoundingClientRect().y + scrollY"
    before = humming.evaluate(top)
    choose_segmind(humming)
    expect(humming.locator("#money")).to_contain_text("Your key stays in this tab.")
    assert humming.evaluate(top) == before


def test_generate_says_what_it_costs_and_which_keys_press_it(humming: Page) -> None:
    generate = humming.locator("#generate")
    expect(generate).to_have_attribute("data-price", "free")
    expect(generate).to_have_attribute("aria-keyshortcuts", "Control+Enter")
    expect(generate).to_have_accessible_name("Generate Ctrl ↵ · free")
    choose_segmind(humming)
    expect(generate).to_have_attribute("data-price", "about $0.04")
    humming.get_by_label("This machine", exact=True).check()
    hum(humming, "jazz", seconds=1)
    finished(humming)
    expect(generate).to_have_attribute("data-price", "free")


def test_the_lock_beside_the_seed_is_pressed_and_released(humming: Page) -> None:
    lock = humming.get_by_role("button", name="Keep this seed")
    for pressed in ("true", "false"):
        lock.click()
        expect(lock).to_have_attribute("aria-pressed", pressed)


def test_a_surprise_is_a_prompt_of_the_chips_words_and_another_each_time(humming: Page) -> None:
    prompt = humming.locator("#prompt textarea")
    seen = [""]
    for _ in range(5):
        humming.get_by_role("button", name="Surprise me").click()
        expect(prompt).not_to_have_value(seen[-1])
        seen.append(prompt.input_value())
        kinds = humming.locator(".words [role=tab][data-used]")
        expect(kinds).to_have_text(["Genre", "Mood", "Instruments", "Tempo"])
        assert re.fullmatch(r"[\w -]+ with [\w ]+ and [\w ]+, [\w -]+", seen[-1])

"""The fields of a wish: what they are called, what they take, and what a tab remembers of them."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.test_library_page import number
from tests.browser.test_own_sound_page import hum
from tests.browser.test_page import ask, finished

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


def test_a_reload_brings_back_what_was_typed_and_a_link_goes_before_it(
    humming: Page, fast: str
) -> None:
    humming.fill("#prompt textarea", "a tango")
    humming.get_by_text("More control").click()
    for field, value in (("seed", "77"), ("temperature", "0.9"), ("extend-to", "60")):
        number(humming, field).fill(value)
        number(humming, field).blur()
    kept = "sessionStorage.getItem('musicgen-space:wish')"
    humming.wait_for_function(f"{kept}?.includes('\"extend_to\":60')")
    humming.reload()
    expect(humming.locator("#prompt textarea")).to_have_value("a tango")
    expect(number(humming, "seed")).to_have_value("77")
    for field, value in (("temperature", "0.9"), ("extend-to", "60")):
        expect(number(humming, field)).to_have_value(value)
    humming.goto(f"{fast}/?prompt=a+waltz&seed=3")
    expect(humming.locator("#prompt textarea")).to_have_value("a waltz")
    expect(number(humming, "seed")).to_have_value("3")
    humming.fill("#prompt textarea", "a slow waltz")
    humming.wait_for_function(f"{kept}?.includes('slow')")
    humming.reload()
    expect(humming.locator("#prompt textarea")).to_have_value("a slow waltz")


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
    ask(humming, "a polka", seconds=2, seed=7)
    humming.click("#generate")
    finished(humming)
    humming.click("#generate")
    expect(said).to_contain_text("Already made.")
    said.get_by_role("button", name="Play").click()
    expect(said).to_be_hidden()
    rows = humming.locator("#library li").filter(has_text="a polka")
    expect(rows).to_have_count(1)
    humming.click("#generate")
    said.get_by_role("button", name="Make it again").click()
    expect(rows).to_have_count(2)
    finished(humming)
    humming.click("#generate")
    said.get_by_role("button", name="New seed").click()
    expect(rows).to_have_count(3)
    expect(rows.filter(has_text="seed 7")).to_have_count(2)


def test_wishes_may_wait_are_shown_and_can_be_taken_back(humming: Page) -> None:
    waiting = humming.locator(".wishes li")
    ask(humming, "the first", seconds=30)
    humming.click("#generate")
    for prompt in ("the second", "the third"):
        ask(humming, prompt, seconds=1)
        humming.keyboard.press("Control+Enter")
        expect(waiting.filter(has_text=prompt)).to_have_count(1)
    humming.get_by_role("button", name="Don't make the second").click()
    expect(waiting).to_have_count(1)
    expect(humming.locator("#library .name").first).to_have_text("the third")
    expect(humming.locator("#library .name").nth(1)).to_have_text("the first")
    expect(waiting).to_have_count(0)

"""Live music in a real browser: it goes on without a gap, follows what is written, and ends."""

from __future__ import annotations

import base64
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import opened
from tests.browser.test_accessibility import TOO_LOW, findings
from tests.browser.test_languages_page import wide
from tests.browser.test_own_sound_page import bring, riff
from tests.browser.test_page import PLAYING, finished, generate
from tests.browser.test_player_page import NOTE_SHIFTS
from tests.browser.test_segmind_page import choose_segmind
from tests.servers.app import serving

RATE = 32000
CALM, LOUD = "gentle lullaby", "fast house with drums"

# From now on: every piece of sound, from when on it is to be heard, and when that was known.
TAP = """() => {
  window.pieces = [];
  const { start } = AudioBufferSourceNode.prototype;
  AudioBufferSourceNode.prototype.start = function (when, ...rest) {
    const samples = this.buffer.getChannelData(0).slice();
    pieces.push({ when, known: this.context.currentTime, samples });
    return start.call(this, when, ...rest);
  };
}"""
TAPPED = """() => pieces.map(({ when, known, samples }) => {
  let bytes = "";
  for (const byte of new Uint8Array(samples.buffer)) bytes += String.fromCharCode(byte);
  return { when, known, samples: btoa(bytes) };
})"""
# The tab is hidden from now on, and a minute passes at once.
HIDE = """() => {
  const later = setTimeout;
  window.setTimeout = (work, delay, ...rest) => later(work, delay === 60000 ? 0 : delay, ...rest);
  Object.defineProperty(document, "hidden", { value: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
SECONDS = "pieces.reduce((sum, { samples }) => sum + samples.length, 0) / 32000"


# What a reader calls what has the focus, and the order of the panel.
NAME = """(({ ariaLabel, labels, textContent }) =>
  ariaLabel ?? (labels?.[0]?.firstChild.data ?? textContent).trim())(document.activeElement)"""
ORDER = [
    *("Open a take's settings (from its sound file)", "Back to the take", "Stop live music"),
    *("Volume", "Change the music", "Keep the last 30 s", "Download all of it"),
    *("Calmer or wilder", "Guidance", "Second prompt", "How it changes"),
]


def live_button(page: Page) -> Locator:
    return page.locator("#play-live button")


def part(page: Page, name: str) -> Locator:
    return page.locator(f".live [data-part={name}]")


def play(page: Page, prompt: str) -> None:
    page.fill("#prompt textarea", prompt)
    live_button(page).click()
    expect(part(page, "heard")).to_have_text(prompt)


def tapped(page: Page) -> list[dict[str, Any]]:
    pieces: list[dict[str, Any]] = page.evaluate(TAPPED)
    for piece in pieces:
        piece["samples"] = np.frombuffer(base64.b64decode(piece["samples"]), "<f4")
    return pieces


def level(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(sound**2)))


def brightness(sound: np.ndarray) -> float:
    """The spectral centroid in Hz."""
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    return float((spectrum * np.fft.rfftfreq(len(sound), 1 / RATE)).sum() / spectrum.sum())


def pitch(page: Page) -> float:
    """Of the hum that came last."""
    last = tapped(page)[-1]["samples"]
    return float(np.abs(np.fft.rfft(last)).argmax() * RATE / len(last))


def hum_of(prompt: str) -> float:
    return 200 + 10 * len(prompt)


def test_it_sounds_for_twenty_seconds_without_a_gap(page: Page) -> None:
    page.evaluate(TAP)
    play(page, "lo-fi music with a soothing melody")
    page.wait_for_function(f"{SECONDS} >= 20")
    assert part(page, "clock").inner_text() >= "0:15"
    live_button(page).click()
    expect(page.locator(".live")).to_have_attribute("data-phase", "idle")
    pieces = tapped(page)
    for piece, after in pairwise(pieces):
        assert after["when"] == pytest.approx(piece["when"] + len(piece["samples"]) / RATE)
    assert [piece for piece in pieces if piece["when"] < piece["known"]] == []
    sound = np.concatenate([piece["samples"] for piece in pieces])
    steps = np.abs(np.diff(sound))
    for end in np.cumsum([len(piece["samples"]) for piece in pieces[:-1]]):
        near = steps[max(0, end - RATE // 2) : end + RATE // 2]
        assert steps[end - 1] <= near.max()  # no jump that isn't the music's
    assert min(level(window) for window in np.array_split(sound, 40)) > 1e-4


def test_another_prompt_is_heard_and_stop_leaves_the_machine_to_a_take(page: Page) -> None:
    page.evaluate(TAP)
    play(page, CALM)
    page.wait_for_function(f"{SECONDS} >= 4")
    before = np.concatenate([piece["samples"] for piece in tapped(page)])[-3 * RATE :]
    page.fill("#prompt textarea", LOUD)
    page.press("#prompt textarea", "Enter")
    expect(part(page, "coming")).to_have_text(LOUD)
    expect(part(page, "heard")).to_have_text(LOUD)
    expect(part(page, "coming")).to_have_text("")
    page.evaluate("pieces.length = 0")
    page.wait_for_function(f"{SECONDS} >= 3")
    after = np.concatenate([piece["samples"] for piece in tapped(page)])
    assert brightness(after) > 1.5 * brightness(before)
    # As many sessions as may play at a time, and more.
    for _ in range(3):
        live_button(page).click()
        expect(part(page, "play")).to_have_accessible_name("Play live music")
        live_button(page).click()
        expect(part(page, "heard")).to_have_text(LOUD)
    page.keyboard.press("Escape")
    generate(page, "jazz", seconds=1)
    finished(page)
    expect(page.locator(".live")).to_be_hidden()
    expect(page.locator(".player [data-part=title]")).to_have_text("jazz")


def test_chips_knobs_and_a_second_prompt_change_it_while_it_plays(humming: Page) -> None:
    humming.evaluate(TAP)
    play(humming, "jazz")
    sent: list[str] = []
    humming.on("request", lambda request: sent.append(request.post_data or ""))
    humming.click("#words [aria-pressed]:text-is('funk')")
    expect(part(humming, "heard")).to_have_text("jazz, funk")
    assert pitch(humming) == hum_of("jazz, funk")
    humming.fill("#prompt textarea", "")
    part(humming, "change").click()
    expect(part(humming, "state")).to_contain_text("must not be empty")
    expect(part(humming, "heard")).to_have_text("jazz, funk")
    fader = humming.get_by_role("slider", name="From the prompt to the second prompt")
    expect(fader).to_be_disabled()
    humming.get_by_role("textbox", name="Second prompt").fill("a choir")
    with humming.expect_request(lambda request: "blend_prompt" in (request.post_data or "")):
        humming.keyboard.press("Enter")
    for knob, value, field in (
        (fader, "0.5", '"balance":0.5'),
        (humming.get_by_role("slider", name="Calmer or wilder"), "1.3", '"temperature":1.3'),
        (humming.get_by_role("slider", name="Guidance").last, "5", '"guidance_scale":5'),
    ):
        with humming.expect_request(
            lambda request, field=field: field in (request.post_data or "")  # type: ignore[misc]
        ):
            knob.fill(value)
    with humming.expect_request(lambda request: '"arrive"' in (request.post_data or "")):
        humming.get_by_label("How it changes").select_option("arrive")
    assert not [each for each in sent if '"play"' in each]


def test_it_works_by_keyboard_alone(humming: Page) -> None:
    humming.locator("#prompt textarea").focus()
    humming.keyboard.type("jazz")
    while not humming.evaluate("document.activeElement.matches('#play-live button')"):
        humming.keyboard.press("Tab")
    humming.keyboard.press("Enter")
    expect(part(humming, "heard")).to_have_text("jazz")
    expect(part(humming, "announcement")).to_have_text("Now: jazz")
    reached: list[str] = []
    while "How it changes" not in reached:
        humming.keyboard.press("Tab")
        reached.append(humming.evaluate(NAME))
    assert [name for name in reached if name] == ORDER
    humming.keyboard.press("Escape")
    expect(part(humming, "announcement")).to_have_text("Now: jazz")
    expect(part(humming, "state")).to_have_text("Live music has stopped.")
    for _ in range(2):
        humming.keyboard.press("Shift+Tab")  # to a slider: in other fields it is a letter
    humming.keyboard.press("k")
    expect(part(humming, "heard")).to_have_text("jazz")
    humming.keyboard.press("k")
    expect(humming.locator(".live")).to_have_attribute("data-phase", "idle")


def test_what_was_heard_is_kept_and_downloaded(humming: Page) -> None:
    play(humming, "jazz")
    humming.evaluate("document.querySelector('#words [aria-pressed]').click()")  # lo-fi
    expect(part(humming, "heard")).to_have_text("jazz, lo-fi")
    live_button(humming).click()
    part(humming, "keep").click()
    expect(part(humming, "state")).to_have_text("Kept in your takes.")
    take = humming.locator("#library .take").first
    expect(take.locator(".name")).to_have_text("jazz → jazz, lo-fi")

    def downloaded(choice: str) -> Path:
        part(humming, "record").click()
        with humming.expect_download() as download:
            humming.get_by_role("menuitem", name=choice).click()
        name = download.value.suggested_filename
        return Path(download.value.path()).rename(Path(download.value.path()).parent / name)

    flac, cue = downloaded("Recording as FLAC"), downloaded("Cue sheet")
    assert soundfile.info(flac).samplerate == RATE
    sheet = cue.read_text(encoding="utf-8")
    assert [line.strip() for line in sheet.splitlines() if "TITLE" in line] == [
        'TITLE "jazz"',
        'TITLE "jazz, lo-fi"',
    ]
    take.locator(".listen").click()
    expect(humming.locator(".live")).to_be_hidden()
    expect(humming.locator(".player [data-part=title]")).to_have_text("jazz → jazz, lo-fi")


def test_it_begins_with_a_sound_of_ones_own(humming: Page, tmp_path: Path) -> None:
    bring(humming, riff(tmp_path))
    humming.evaluate(TAP)
    humming.fill("#prompt textarea", "jazz")
    with humming.expect_request(lambda request: '"play"' in (request.post_data or "")) as asked:
        live_button(humming).click()
    expect(part(humming, "heard")).to_have_text("jazz")
    assert '"use":"continue_from"' in str(asked.value.post_data)
    # Another sound of the page ends it; the panel stays.
    humming.get_by_role("button", name="Play the stretch").click()
    expect(humming.locator(".live")).to_have_attribute("data-phase", "idle")
    expect(humming.locator(".live")).to_be_visible()
    # And so it does with others.
    live_button(humming).click()
    humming.wait_for_function("document.querySelector('.picker audio').paused")
    part(humming, "leave").click()
    expect(humming.locator(".player")).to_be_visible()
    assert humming.evaluate(PLAYING) == ""


def test_two_pages_play_at_once_and_one_that_is_closed_ends(
    humming: Page, browser: Browser, fast: str, log: Path
) -> None:
    ends: Callable[[], int] = lambda: log.read_text().count("The hum ends.")  # noqa: E731
    with opened(browser, fast, 60_000) as other:
        humming.evaluate(TAP)
        other.evaluate(TAP)
        play(humming, "jazz")
        play(other, "heavy metal")
        for page in (humming, other):
            page.wait_for_function(f"{SECONDS} >= 2")
        assert [pitch(humming), pitch(other)] == [hum_of("jazz"), hum_of("heavy metal")]
        before = ends()
    while ends() == before:
        humming.wait_for_timeout(50)
    humming.evaluate("pieces.length = 0")
    humming.wait_for_function(f"{SECONDS} >= 0.5")  # the other goes on


def test_where_it_is_not_made_and_where_it_is_too_slow_is_said(humming: Page) -> None:
    choose_segmind(humming)
    humming.fill("#prompt textarea", "jazz")
    live_button(humming).click()
    expect(part(humming, "state")).to_have_text(
        "Live music is not made on Segmind: choose another place."
    )
    expect(part(humming, "play")).to_be_disabled()
    humming.locator("#backend label").first.click()
    expect(part(humming, "play")).to_be_enabled()
    expect(part(humming, "state")).to_have_text("")
    humming.locator("#model input").click()
    humming.get_by_role("option", name="unknown").click()
    part(humming, "play").click()
    expect(part(humming, "state")).to_contain_text("too slow here, at 0.7× real time")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_is_found_and_nothing_moves_while_it_plays(
    humming: Page, scheme: str
) -> None:
    humming.goto(f"{humming.url}?__theme={scheme}")
    humming.wait_for_selector("#restore", state="attached")
    assert humming.evaluate("shifted") < 0.02
    play(humming, "jazz")
    humming.wait_for_timeout(500)  # colours fade in
    assert findings(humming) == []
    humming.evaluate(NOTE_SHIFTS)
    humming.evaluate("document.querySelector('#words [aria-pressed]').click()")
    expect(part(humming, "heard")).to_have_text("jazz, lo-fi")
    humming.evaluate("document.querySelector('#play-live button').click()")
    expect(part(humming, "state")).not_to_be_empty()
    assert humming.evaluate("shifts.reduce((sum, [value]) => sum + value, 0)") < 0.02


def test_the_picture_moves_unless_somebody_wants_it_still(humming: Page) -> None:
    picture = "document.querySelector('.live canvas').toDataURL()"
    humming.emulate_media(reduced_motion="reduce")
    play(humming, "jazz")
    still = humming.evaluate(picture)
    humming.wait_for_timeout(300)
    assert humming.evaluate(picture) == still
    humming.emulate_media(reduced_motion="no-preference")
    humming.wait_for_function(f"{picture} !== '{still}'")


def test_a_phone_knows_that_it_plays(humming: Page) -> None:
    play(humming, "jazz")
    title = "navigator.mediaSession.metadata?.title"
    assert humming.evaluate(title) == "jazz"
    assert humming.evaluate("navigator.mediaSession.playbackState") == "playing"
    silence = "document.querySelector('.live audio')"
    humming.wait_for_function(f"!{silence}.paused")
    humming.evaluate(f"{silence}.pause()")  # as the system does when a call comes in
    expect(humming.locator(".live")).to_have_attribute("data-phase", "idle")
    assert humming.evaluate("navigator.mediaSession.playbackState") == "paused"
    part(humming, "leave").click()
    assert humming.evaluate(title) is None


@pytest.mark.parametrize(("width", "locale"), [(390, "de-DE"), (320, "fr-FR")])
def test_there_is_room_for_it_on_a_phone(
    browser: Browser, fast: str, width: int, locale: str
) -> None:
    device = {"has_touch": True, "is_mobile": True, "locale": locale}
    with opened(browser, fast, 60_000, width, **device) as page:
        page.fill("#prompt textarea", "jazz")
        live_button(page).tap()
        expect(part(page, "heard")).to_have_text("jazz")
        expect(page.locator(".live canvas")).to_be_in_viewport()
        assert wide(page) == 0
        assert page.evaluate(TOO_LOW) == []


def test_where_others_want_their_turn_a_hidden_tab_ends_it(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After a minute; here a minute has no seconds."""
    log = tmp_path_factory.mktemp("hidden") / "log"
    command = ("-m", "tests.browser.fast_page")
    with (
        serving(log, *command, GRADIO_SERVER_NAME="0.0.0.0") as address,
        opened(browser, address, 15_000) as page,
    ):
        play(page, "jazz")
        page.evaluate(HIDE)
        expect(part(page, "play")).to_have_accessible_name("Play live music")
        expect(page.locator(".live")).to_contain_text("hidden for a minute")


def test_at_home_it_plays_on_in_a_hidden_tab(humming: Page) -> None:
    play(humming, "jazz")
    humming.evaluate(HIDE)
    humming.wait_for_function(
        "document.querySelector('.live [data-part=clock]').textContent > '0:01'"
    )
    expect(part(humming, "play")).to_have_accessible_name("Stop live music")

"""Somebody's own sound, variations and long takes, in a real browser."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import FilePayload, Locator, Page, expect

from musicgen_space.audio.files import read_settings
from tests.browser.test_page import (
    DECODE,
    PLAYING,
    ask,
    download_as,
    finished,
    generate,
    more_control,
)
from tests.browser.test_segmind_page import choose_segmind

RATE = 32000
TIME = "document.querySelector('.player audio[data-on]').currentTime"

# The pitch that is heard around a moment of the take in the player.
PITCH = """async (at) => {
  const audio = document.querySelector(".player audio[data-on]");
  const data = await (await fetch(audio.src)).arrayBuffer();
  const sound = await new OfflineAudioContext(1, 1, 32000).decodeAudioData(data);
  const samples = sound.getChannelData(0).subarray(at * 32000, at * 32000 + 16000);
  let crossings = 0;
  for (let i = 1; i < samples.length; i++) crossings += samples[i - 1] < 0 && samples[i] >= 0;
  return crossings * 2;
}"""

# What every sound's start ends in from now on, until it is undefined again.
START_ENDS_IN = """(name) => {
  window.startForReal ??= HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = name
    ? () => Promise.reject(new DOMException("no start", name)) : window.startForReal;
}"""

UNPLAYABLE = "This sound can't be played. Please try again."


def riff(folder: Path, seconds: float = 20, hertz: float = 440) -> FilePayload:
    """A WAV as somebody brings it."""
    time = np.arange(int(seconds * RATE)) / RATE
    soundfile.write(folder / "riff.wav", 0.5 * np.sin(2 * np.pi * hertz * time), RATE)
    data = (folder / "riff.wav").read_bytes()
    return {"name": "riff.wav", "mimeType": "audio/wav", "buffer": data}


def bring(page: Page, sound: FilePayload) -> None:
    page.get_by_role("button", name="Your own sound").click()
    page.set_input_files("#sound input[type=file]", sound)
    expect(page.locator("#picker [data-part=name]")).to_have_text(sound["name"])


def ends(page: Page) -> tuple[Locator, Locator]:
    picker = page.locator("#picker")
    return picker.get_by_role("slider", name="From"), picker.get_by_role("slider", name="To")


def stretch(page: Page) -> tuple[float, float]:
    first, last = (end.get_attribute("aria-valuenow") for end in ends(page))
    return float(first or -1), float(last or -1)


def picked(page: Page, first: float, last: float) -> None:
    """Wait until this stretch is picked."""
    for end, seconds in zip(ends(page), (first, last), strict=True):
        expect(end).to_have_attribute("aria-valuenow", f"{seconds:.1f}")


def hum(page: Page, prompt: str, seconds: float = 3, seed: int = 42) -> None:
    """Make a take, which may be over before it is seen to begin."""
    ask(page, prompt, seconds, seed)
    page.click("#generate")
    expect(page.locator("[data-part=title]")).to_have_text(prompt)
    finished(page)


def seconds_in(page: Page) -> float:
    sound: dict[str, float] = page.evaluate(DECODE)
    return sound["decoded"]


def test_at_first_sight_the_page_is_as_simple_as_ever(page: Page) -> None:
    for more in ("#sound", "#picker", "#use", "#variations", "#negative-prompt", ".takes"):
        expect(page.locator(more)).to_be_hidden()
    expect(page.get_by_role("button", name="Your own sound")).to_be_visible()


def test_what_is_set_right_after_a_section_opens_is_kept(humming: Page) -> None:
    # As in a busy browser: pictures come late, and what waits for them comes between.
    humming.add_init_script(
        "const soon = window.requestAnimationFrame.bind(window);"
        "window.requestAnimationFrame = (draw) => setTimeout(() => soon(draw), 400);"
    )
    humming.reload()
    more_control(humming, variations=3)
    humming.wait_for_timeout(1500)  # nothing tells that nothing will happen
    expect(humming.locator("#variations input[type=number]")).to_have_value("3")


def test_real_music_goes_on_from_ones_own_sound(page: Page, tmp_path: Path) -> None:
    bring(page, riff(tmp_path, seconds=2))
    generate(page, "sad solo piano", seconds=2)
    finished(page)
    assert seconds_in(page) == pytest.approx(4, abs=0.05)
    expect(page.get_by_role("img", name="The new music begins at 0:02")).to_be_visible()
    expect(page.locator("[data-part=facts]")).to_contain_text("goes on from riff.wav")
    assert page.evaluate(PITCH, 0.5) == pytest.approx(440, abs=10)


def test_the_stretch_is_picked_with_keys_mouse_and_numbers(humming: Page, tmp_path: Path) -> None:
    bring(humming, riff(tmp_path, seconds=60))
    picked(humming, 50, 60)
    first, last = ends(humming)
    first.press("PageDown")
    first.press("ArrowLeft")
    picked(humming, 48.9, 60)
    first.press("Home")
    last.press("PageDown")
    picked(humming, 0, 59)
    last.press("End")
    picked(humming, 0, 60)
    humming.get_by_label("From", exact=True).and_(humming.locator("input")).fill("59.9")
    humming.keyboard.press("Enter")
    picked(humming, 59.5, 60)
    strip = humming.locator("#picker .strip").bounding_box()
    handle = first.bounding_box()
    assert strip is not None
    assert handle is not None
    outside = handle["x"] + 10, handle["y"] + 20
    humming.mouse.move(*outside)
    humming.mouse.down()
    humming.mouse.move(outside[0] - strip["width"] * 14.5 / 60, outside[1], steps=4)
    humming.mouse.up()
    start, end = stretch(humming)
    assert start == pytest.approx(45, abs=0.5)
    assert end == 60
    hum(humming, "jazz", seconds=1)
    assert seconds_in(humming) == pytest.approx(60 - start + 1, abs=0.1)


def test_a_part_of_a_sound_is_made_anew_and_the_rest_stays(humming: Page, tmp_path: Path) -> None:
    bring(humming, riff(tmp_path, seconds=20))
    humming.get_by_role("radio", name="Make this part anew").check()
    picked(humming, 6, 14)
    expect(humming.locator("#picker [data-part=length]")).to_have_text(
        "8.0 s made anew in several ways, the rest of 20.0 s stays"
    )
    hum(humming, "jazz", seconds=10, seed=700)
    humming.wait_for_function("document.querySelector('.player audio[data-on]')?.duration")
    heard = [humming.evaluate(PITCH, at) for at in (2, 9, 18)]
    assert heard[0] == pytest.approx(440, abs=10)
    assert heard[1] == pytest.approx(900, abs=20)
    assert heard[2] == pytest.approx(440, abs=10)
    expect(humming.locator("[data-part=facts]")).to_contain_text(
        re.compile(r"6\.0 to 1[2-6]\.\d s of riff\.wav made anew")
    )


def test_a_finger_moves_the_whole_stretch(humming: Page, tmp_path: Path) -> None:
    bring(humming, riff(tmp_path, seconds=20))
    humming.locator("#picker").evaluate("picker => picker.scrollIntoView({ block: 'center' })")
    band = humming.locator("#picker .band").bounding_box()
    assert band is not None
    middle = band["x"] + band["width"] / 2, band["y"] + band["height"] / 2
    humming.mouse.move(*middle)
    humming.mouse.down()
    humming.mouse.move(middle[0] - band["width"] / 2, middle[1], steps=4)
    humming.mouse.up()
    assert stretch(humming) == (pytest.approx(5, abs=0.3), pytest.approx(15, abs=0.3))


def test_the_picked_stretch_can_be_heard(humming: Page, tmp_path: Path) -> None:
    bring(humming, riff(tmp_path, seconds=20))
    first, _ = ends(humming)
    first.press("End")
    picked(humming, 19.5, 20)
    play = humming.get_by_role("button", name="Play the stretch")
    play.evaluate("(play) => { play.click(); play.click(); }")  # before the sound is there
    audio = "document.querySelector('.picker audio')"
    humming.wait_for_function(f"{audio}.currentTime > 19.5")
    expect(humming.get_by_role("button", name="Play the stretch")).to_be_visible()
    assert humming.evaluate(f"{audio}.paused")
    humming.evaluate(START_ENDS_IN, "NotSupportedError")
    play.click()
    expect(humming.locator("#picker [data-part=said]")).to_have_text(UNPLAYABLE)
    expect(play).to_be_visible()
    humming.evaluate(START_ENDS_IN, None)
    play.click()
    expect(humming.locator("#picker [data-part=said]")).to_have_text("")


def test_a_tune_is_followed_where_the_model_can(humming: Page, tmp_path: Path) -> None:
    bring(humming, riff(tmp_path, seconds=40))
    use = humming.locator("#use")
    expect(use.get_by_role("radio")).to_have_count(2)
    expect(use).to_contain_text("needs a melody model, such as facebook/musicgen-melody")
    choose_model(humming, "tuneful")
    use.get_by_label("Follow its melody").check()
    picked(humming, 0, 30)
    hum(humming, "jazz", seconds=1)
    expect(humming.locator("[data-part=facts]")).to_contain_text("melody of riff.wav")
    assert seconds_in(humming) == pytest.approx(1, abs=0.05)
    choose_model(humming, "plain")
    expect(use.get_by_role("radio")).to_have_count(2)
    expect(ends(humming)[0]).to_have_attribute("aria-valuenow", "30.0")


def choose_model(page: Page, name: str) -> None:
    page.locator("#model input").click()
    page.get_by_role("option", name=re.compile(name)).click()


def test_a_sound_that_is_removed_is_not_used(humming: Page, tmp_path: Path) -> None:
    bring(humming, riff(tmp_path))
    humming.get_by_role("button", name="Remove").click()
    expect(humming.locator("#picker")).to_be_hidden()
    expect(humming.locator("#sound")).to_be_visible()
    hum(humming, "jazz", seconds=1)
    assert seconds_in(humming) == pytest.approx(1, abs=0.05)
    expect(humming.locator(".seam")).to_be_hidden()


def test_a_file_that_is_no_sound_is_told_and_nothing_changes(humming: Page, tmp_path: Path) -> None:
    humming.get_by_role("button", name="Your own sound").click()
    bad: FilePayload = {"name": "bad.wav", "mimeType": "audio/wav", "buffer": b"no sound"}
    humming.set_input_files("#sound input[type=file]", bad)
    expect(humming.get_by_text("This is text and no sound.")).to_be_visible()
    expect(humming.locator("#sound input[type=file]")).to_be_attached()
    expect(humming.locator("#picker")).to_be_hidden()
    humming.set_input_files("#sound input[type=file]", riff(tmp_path))
    expect(humming.locator("#picker [data-part=name]")).to_have_text("riff.wav")


# A file is dropped where a sound goes.
DROP = """([base64, name]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  const options = { bubbles: true, cancelable: true, dataTransfer };
  const place = document.querySelector("#sound button:has(input[type=file])");
  place.dispatchEvent(new DragEvent("dragenter", options));
  place.dispatchEvent(new DragEvent("drop", options));
}"""


def test_a_sound_may_be_called_anything_and_it_is_said_what_was_done_to_it(
    humming: Page, tmp_path: Path
) -> None:
    loud = 3.6 * np.sin(np.arange(2 * RATE) / 20)
    soundfile.write(tmp_path / "hum.w64", loud, RATE, "FLOAT", format="W64")
    data = (tmp_path / "hum.w64").read_bytes()
    bring(humming, {"name": "hum.w64", "mimeType": "", "buffer": data})
    note = "Its peaks were 11.1 dB above full scale, so all of it was made quieter."
    expect(humming.locator("#picker [data-part=note]")).to_have_text(note)
    humming.get_by_role("button", name="Remove").click()
    data = riff(tmp_path, seconds=2)["buffer"]
    humming.locator("#sound input[type=file]").wait_for(state="attached")
    humming.evaluate(DROP, [base64.b64encode(data).decode(), "riff"])
    expect(humming.locator("#picker [data-part=name]")).to_have_text("riff")
    expect(humming.locator("#picker [data-part=note]")).to_be_hidden()


def test_a_microphone_that_can_not_be_used_is_told(humming: Page) -> None:
    humming.get_by_role("button", name="Your own sound").click()
    humming.get_by_role("button", name="Record audio").click()
    humming.get_by_role("button", name="Record", exact=True).click()
    expect(humming.locator("#own-about")).to_contain_text("No microphone can be used")


def test_ones_own_sound_survives_the_switch_to_segmind_and_back(page: Page, tmp_path: Path) -> None:
    bring(page, riff(tmp_path))
    ends(page)[0].press("PageUp")
    choose_segmind(page)
    expect(page.locator("#use")).to_contain_text("Not on Segmind.")
    expect(page.locator("#use input").first).to_be_disabled()
    page.get_by_label("This machine", exact=True).check()
    expect(page.locator("#use input").first).to_be_enabled()
    picked(page, 11, 20)


def test_variations_are_compared_at_the_same_place(humming: Page) -> None:
    more_control(humming, variations=3)
    hum(humming, "jazz", seconds=6, seed=100)
    chips = humming.get_by_role("radiogroup", name="Takes").get_by_role("radio")
    expect(chips).to_have_count(3)
    expect(humming.get_by_role("radio", name="Take 1")).to_be_checked()
    humming.get_by_role("button", name="Pause").click()
    humming.get_by_role("slider", name="Position").press("Home")
    for _ in range(4):
        humming.get_by_role("slider", name="Position").press("ArrowRight")
    humming.get_by_role("radio", name="Take 1").press("ArrowRight")
    expect(humming.get_by_role("radio", name="Take 2")).to_be_checked()
    expect(humming.get_by_role("radio", name="Take 2")).to_be_focused()
    expect(humming.locator("[data-part=facts]")).to_contain_text("seed 101")
    expect(humming.locator("[data-part=time]")).to_have_text("0:04 / 0:06")
    humming.wait_for_function("document.querySelector('[data-on]').src.includes('seed101')")
    assert humming.evaluate(PITCH, 1) == pytest.approx(301, abs=6)
    humming.get_by_role("button", name="Play", exact=True).click()
    humming.wait_for_function(f"{PLAYING} == 'file' && {TIME} > 4.1")
    humming.get_by_role("radio", name="Take 3").locator(".mark").click()
    humming.wait_for_function("document.querySelector('[data-on]').src.includes('seed102')")
    humming.wait_for_function(f"{PLAYING} == 'file' && {TIME} > 4.1")
    with humming.expect_download() as download:
        download_as(humming, "FLAC")
    assert download.value.suggested_filename == "jazz-seed102.flac"
    settings = read_settings(download.value.path().read_bytes())
    assert settings is not None
    assert settings["seed"] == 102


def test_a_single_take_has_no_chips(humming: Page) -> None:
    hum(humming, "jazz", seconds=1)
    expect(humming.get_by_role("radiogroup", name="Takes")).to_be_hidden()


def test_the_spectrogram_follows_the_variation(humming: Page) -> None:
    more_control(humming, variations=2)
    hum(humming, "jazz", seconds=2, seed=1)
    humming.get_by_text("Spectrogram").click()
    image = humming.locator(".picture img")
    expect(image).to_have_attribute("src", re.compile("seed1.png"))
    humming.get_by_role("radio", name="Take 2").click()
    expect(image).to_have_attribute("src", re.compile("seed2.png"))


def test_five_minutes_are_heard_from_their_start_and_kept_whole(humming: Page) -> None:
    humming.get_by_text("More control").click()
    humming.get_by_label("Longer than 30 s").check()
    expect(humming.locator("#duration input[type=range]")).to_have_attribute("max", "300")
    generate(humming, "jazz", seconds=300, seed=1)
    humming.wait_for_function(f"{PLAYING} == 'live'")
    finished(humming)
    expect(humming.locator("[data-part=facts]")).to_contain_text("5:00")
    expect(humming.locator("[data-part=time]")).to_have_text(re.compile(r"^0:\d\d / 5:00$"))
    assert seconds_in(humming) == pytest.approx(300, abs=0.05)
    humming.get_by_role("slider", name="Position").press("End")
    humming.wait_for_function(f"{TIME} > 298")


def test_live_sound_of_a_continued_take_begins_with_what_was_there(
    humming: Page, tmp_path: Path
) -> None:
    bring(humming, riff(tmp_path, seconds=3))
    hum(humming, "jazz", seconds=3)
    humming.wait_for_function(f"heard.length && {PLAYING} == ''")
    heard: list[dict[str, float]] = humming.evaluate("window.heard")
    assert sum(piece["seconds"] for piece in heard) == pytest.approx(6, abs=0.05)
    assert heard[0]["peak"] == pytest.approx(0.5, abs=0.05)
    assert heard[-1]["last"] == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_open_fits_a_phone(
    humming: Page, fast: str, tmp_path: Path, scheme: str
) -> None:
    humming.goto(f"{fast}/?__theme={scheme}")
    humming.set_viewport_size({"width": 390, "height": 844})
    bring(humming, riff(tmp_path))
    more_control(humming, variations=4)
    hum(humming, "jazz", seconds=1)
    assert humming.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    for name, least in (("Take 4", 36), ("From", 30)):
        box = humming.locator(f"[aria-label='{name}']").first.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= least
    assert contrast(humming, ".picker .length") >= 4.5
    assert contrast(humming, ".player .takes [aria-checked=true]") >= 4.5
    assert contrast(humming, ".player .takes [aria-checked=false]") >= 4.5


def contrast(page: Page, selector: str) -> float:
    """WCAG 2's contrast of an element's text with what lies behind it."""
    ratio: float = page.locator(selector).first.evaluate("""(element) => {
      const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
      let behind = element;
      const fill = (node) => getComputedStyle(node).backgroundColor;
      while (parts(fill(behind))[3] === 0) behind = behind.parentElement;
      const light = (colour) => parts(colour).slice(0, 3)
        .map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
      const [low, high] = [getComputedStyle(element).color, fill(behind)]
        .map(light).sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    }""")
    return ratio

"""Links, files and examples that fill the page's fields; words that fill the prompt."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from playwright.sync_api import Locator, Page, expect

from musicgen_space.audio.clips import wav
from musicgen_space.audio.files import encode
from musicgen_space.clip import Clip
from musicgen_space.request import MusicRequest
from musicgen_space.take import Take
from tests.browser.test_page import PLAYING, finished, generate

FILE = "#wish input[type=file]:has(+ #restore)"

DROP = """([base64, name]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  const options = { bubbles: true, cancelable: true, dataTransfer };
  const field = document.querySelector("#prompt textarea");
  field.dispatchEvent(new DragEvent("dragover", options));
  const marked = document.querySelector("#wish").hasAttribute("data-dropping");
  field.dispatchEvent(new DragEvent("drop", options));
  return marked;
}"""


def prompt(page: Page) -> Locator:
    return page.locator("#prompt textarea")


def number(page: Page, field: str) -> Locator:
    return page.locator(f"#{field} input[type=number]")


def take_file(folder: Path, request: MusicRequest, ending: str = "mp3") -> Path:
    take = Take(np.zeros((1, 32000), np.float32), 32000, request, "local", "musicgen-nano", 1.0)
    path = folder / f"take.{ending}"
    path.write_bytes(encode(take, ending))
    return path


def test_a_takes_link_opens_the_page_with_its_settings(page: Page, address: str) -> None:
    # What a page without leave to use the clipboard sees, as over plain http.
    page.evaluate("document.execCommand = () => false")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_text("More control").click()
    number(page, "temperature").fill("0.9")
    number(page, "temperature").blur()
    generate(page, 'sad "piano" & café, 100 %', seconds=1, seed=-1)
    finished(page)
    page.get_by_role("button", name="Copy link").click()
    field = page.get_by_role("textbox", name="Link to these settings")
    expect(field).to_be_focused()
    link = field.input_value()
    assert link.startswith(f"{address}/?prompt=sad+")
    page.click("#last-seed")
    expect(number(page, "seed")).not_to_have_value("-1")
    seed = number(page, "seed").input_value()
    assert f"&seed={seed}&model=musicgen-nano&backend=local" in link
    page.goto(f"{link}&top_k=0")
    expect(prompt(page)).to_have_value('sad "piano" & café, 100 %')
    expect(number(page, "seed")).to_have_value(seed)
    expect(number(page, "duration")).to_have_value("1")
    expect(page.get_by_text("top_k must be a whole number")).to_be_visible()
    page.get_by_text("More control").click()
    expect(number(page, "temperature")).to_have_value("0.9")
    # Nothing is made by itself: the player still has the first example.
    expect(page.locator("[data-part=title]")).to_have_text("lo-fi music with a soothing melody")


def test_a_link_is_copied_where_that_is_allowed(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    expect(page.get_by_role("textbox", name="Link to these settings")).to_be_hidden()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.endswith(
        "/?prompt=lo-fi+music+with+a+soothing+melody&seed=42&model=musicgen-nano&backend=local"
    )


def test_a_takes_file_gives_its_settings_back(page: Page, tmp_path: Path) -> None:
    page.get_by_label("Segmind", exact=True).check()
    wish = MusicRequest("church organ", seed=77, duration=4.5, negative_prompt="drums")
    page.set_input_files(FILE, take_file(tmp_path, wish))
    expect(prompt(page)).to_have_value("church organ")
    expect(number(page, "seed")).to_have_value("77")
    expect(number(page, "duration")).to_have_value("4.5")
    expect(page.get_by_label("This machine", exact=True)).to_be_checked()
    page.get_by_text("More control").click()
    expect(page.locator("#negative-prompt textarea")).to_have_value("drums")
    expect(page.locator("#model input")).to_have_value(re.compile("musicgen-nano"))

    hum = Clip(np.full((1, 32000), 0.1, np.float32), 32000)
    (tmp_path / "song.wav").write_bytes(wav(hum))
    page.set_input_files(FILE, tmp_path / "song.wav")
    expect(page.get_by_text("song.wav says nothing of how it was made")).to_be_visible()
    expect(prompt(page)).to_have_value("church organ")


def test_a_takes_file_may_be_dropped_on_the_wish_whatever_it_was_converted_to(
    page: Page, tmp_path: Path
) -> None:
    take = take_file(tmp_path, MusicRequest("string quartet", seed=8), "flac")
    convert = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", take, tmp_path / "take.mka"]
    subprocess.run(convert, check=True)
    data = (tmp_path / "take.mka").read_bytes()
    assert page.evaluate(DROP, [base64.b64encode(data).decode(), "take.mka"])
    expect(prompt(page)).to_have_value("string quartet")
    expect(number(page, "seed")).to_have_value("8")
    assert page.evaluate("!document.querySelector('#wish').hasAttribute('data-dropping')")


def test_an_example_fills_the_fields_and_plays(page: Page) -> None:
    page.locator("#examples [data-key=example-lo-fi]").click()  # is in the player already
    page.wait_for_function(f"{PLAYING} == 'file'")
    page.locator("#examples [data-key=example-funk]").click()
    expect(prompt(page)).to_have_value("upbeat funk with brass and slap bass")
    expect(number(page, "seed")).to_have_value("3")
    page.wait_for_function(f"{PLAYING} == 'file'")
    page.wait_for_function("document.querySelector('.player audio').currentTime > 0.3")
    expect(page.locator("[data-part=title]")).to_have_text("upbeat funk with brass and slap bass")


def word(page: Page, text: str) -> Locator:
    return page.locator("#words").get_by_role("button", name=text, exact=True)


def test_words_go_into_the_prompt_and_out_again(page: Page) -> None:
    height = page.locator("#words").bounding_box()
    word(page, "jazz").click()
    expect(prompt(page)).to_have_value("jazz")
    page.get_by_role("tab", name="Instruments").click()
    word(page, "electric piano").click()
    expect(prompt(page)).to_have_value("jazz, electric piano")
    expect(word(page, "electric piano")).to_have_attribute("aria-pressed", "true")
    expect(word(page, "piano")).to_have_attribute("aria-pressed", "false")
    assert page.locator("#words").bounding_box() == height

    prompt(page).fill("Sad jazz with piano and a flute, slow")
    expect(word(page, "piano")).to_have_attribute("aria-pressed", "true")
    for text, rest in (
        ("piano", "Sad jazz with a flute, slow"),
        ("flute", "Sad jazz, slow"),
    ):
        word(page, text).click()
        expect(prompt(page)).to_have_value(rest)

    page.get_by_role("tab", name="Instruments").press("ArrowLeft")
    expect(page.get_by_role("tab", name="Mood")).to_be_focused()
    word(page, "sad").press("Space")
    expect(prompt(page)).to_have_value("jazz, slow")


def test_on_a_phone_words_scroll_sideways_by_themselves(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    box = page.locator("#words").bounding_box()
    assert box is not None
    assert box["height"] < 110
    word(page, "waltz").click()
    expect(prompt(page)).to_have_value("waltz")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0

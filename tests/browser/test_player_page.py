"""The player in a real browser: comparing, choosing blindly, finishing, keys, and calm."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, Route, expect

from musicgen_space.audio.files import read_settings
from tests.browser.conftest import opened
from tests.browser.test_own_sound_page import (
    START_ENDS_IN,
    TIME,
    UNPLAYABLE,
    bring,
    hum,
    riff,
)
from tests.browser.test_page import (
    PHASE,
    PLAYING,
    ask,
    begin,
    download_as,
    finished,
    generate,
    more_control,
)

# Which sounds of the player run, noted with the time at which that changed.
NOTE = """() => {
  window.noted = [];
  for (const kind of ["playing", "pause"]) {
    document.addEventListener(kind, ({ target }) => {
      const name = target.dataset.take?.split("/")[1];
      noted.push({ kind, name, when: performance.now(), at: target.currentTime });
    }, true);
  }
}"""

# Everything that moves from now on by itself, and what is done with keys or mouse as well.
NOTE_SHIFTS = """() => {
  window.shifts = [];  // by how much, and what
  const named = (node) => node?.closest?.("[id]")?.id ?? node?.nodeName;
  // What is made comes on top of the list of takes, below all this, and moves the older ones.
  const older = (node) => node?.closest?.("#library");
  new PerformanceObserver((list) => {
    for (const { value, sources } of list.getEntries()) {
      const nodes = sources.map(({ node }) => node);
      if (!nodes.some(older)) window.shifts.push([value, ...nodes.map(named)]);
    }
  }).observe({ type: "layout-shift" });
}"""


def row(page: Page, name: str) -> Any:
    return page.get_by_role("radio", name=name, exact=True)


def four_takes(page: Page, seconds: float = 8, seed: int = 1000) -> None:
    """Finished, silent and at the beginning; from seed 1000 on each is quieter than the last."""
    more_control(page, variations=4)
    hum(page, "jazz", seconds, seed)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("slider", name="Position").press("Home")


@pytest.fixture(scope="module")
def compared(browser: Browser, fast: str) -> Iterator[Page]:
    """A page with four takes; its tests leave the sound paused and nothing blind."""
    with opened(browser, fast, 60_000) as page:
        with page.expect_response(lambda answer: '"heard"' in (answer.request.post_data or "")):
            four_takes(page)
        page.evaluate(NOTE)
        yield page


def test_another_take_goes_on_at_the_same_place_without_a_gap(compared: Page) -> None:
    expect(compared.locator(".takes .name")).to_have_text([f"seed {1000 + n}" for n in range(4)])
    compared.wait_for_function("document.querySelectorAll('.player audio[src]').length == 4")
    compared.evaluate("document.activeElement.blur()")
    compared.keyboard.press("k")
    compared.wait_for_function(f"{TIME} > 1")
    compared.evaluate("noted.length = 0")
    compared.keyboard.press("3")
    expect(row(compared, "Take 3")).to_be_checked()
    compared.wait_for_function("noted.length == 2")
    (new, old) = compared.evaluate("noted")
    assert (new["kind"], new["name"]) == ("playing", "2")
    assert (old["kind"], old["name"]) == ("pause", "0")  # only after the other was heard
    assert abs(new["at"] - old["at"]) < 0.25
    assert new["at"] >= 1
    compared.keyboard.press("k")
    compared.wait_for_function(f"{PLAYING} == ''")


def test_keys_may_be_faster_than_the_sound(compared: Page) -> None:
    compared.evaluate("""() => {
      for (const key of "1kk2kk3kkkk4k") {
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      }
    }""")
    compared.wait_for_timeout(500)  # what was given up tells so later
    assert compared.evaluate(PLAYING) == "file"
    paused = "[...document.querySelectorAll('.player audio')].map(({ paused }) => paused)"
    assert compared.evaluate(paused) == [True, True, True, False]
    # Back to a take whose sound has begun and is not heard yet, as where data comes slowly.
    compared.evaluate("""async () => {
      const { play } = HTMLMediaElement.prototype;
      const wait = (time) => new Promise((resume) => setTimeout(resume, time));
      HTMLMediaElement.prototype.play = async function () {
        await play.call(this);
        await wait(300);
      };
      for (const key of "232") {
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        await wait(50);
      }
      HTMLMediaElement.prototype.play = play;
    }""")
    compared.wait_for_function(f"`${{{paused}}}` == 'true,false,true,true'")
    compared.keyboard.press("k")


def test_a_headset_pauses_and_plays_as_well(compared: Page) -> None:
    compared.keyboard.press("k")
    compared.wait_for_function(f"{PLAYING} == 'file'")
    compared.evaluate("document.querySelector('[data-on]').pause()")
    compared.wait_for_function(f"{PLAYING} == ''")
    compared.evaluate("document.querySelector('[data-on]').play()")
    compared.wait_for_function(f"{PLAYING} == 'file'")
    compared.keyboard.press("k")


@pytest.mark.parametrize(
    ("end", "said"),
    [("NotAllowedError", ""), ("NotSupportedError", UNPLAYABLE), ("AbortError", "")],
)
def test_a_sound_that_does_not_start_is_shown_as_paused(
    compared: Page, end: str, said: str
) -> None:
    play = compared.get_by_role("button", name="Play", exact=True)
    status = compared.locator("[data-part=status]")
    compared.keyboard.press("1")
    compared.evaluate(START_ENDS_IN, end)
    play.click()
    expect(play).to_be_visible()
    expect(status).to_contain_text(said)
    assert compared.evaluate(PLAYING) == ""
    # Nor does what can't take over from another leave the page saying that it plays.
    compared.evaluate(START_ENDS_IN, None)
    play.click()
    compared.wait_for_function(f"{PLAYING} == 'file'")
    compared.wait_for_function("document.querySelectorAll('.player audio[src]').length == 4")
    compared.evaluate(START_ENDS_IN, end)
    compared.keyboard.press("2")
    assert compared.evaluate(PLAYING) == ""
    expect(status).to_contain_text(said)
    compared.evaluate(START_ENDS_IN, None)
    play.click()
    compared.wait_for_function(f"{PLAYING} == 'file'")
    compared.get_by_role("button", name="Pause").click()


def test_another_sound_is_paused_on_its_way_and_whoever_started_it_sees_no_error(
    compared: Page,
) -> None:
    """As Gradio's own player, which expects that what it starts does start."""
    went = compared.evaluate("""async () => {
      const other = new Audio(document.querySelector("[data-on]").src);
      const press = (key) =>
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      const began = other.play();
      press("k");
      await began;
      return [other.paused, other.currentTime];
    }""")
    assert went == [True, 0]
    compared.wait_for_function(f"{PLAYING} == 'file'")
    compared.keyboard.press("k")


def test_a_sound_card_that_can_not_be_opened_is_no_error_of_the_page(humming: Page) -> None:
    humming.evaluate("""() => {
      for (const name of ["resume", "close"]) {
        AudioContext.prototype[name] =
          () => Promise.reject(new DOMException("closed", "InvalidStateError"));
      }
    }""")
    hum(humming, "closed")


def test_sounds_are_asked_for_again_where_the_network_fails(humming: Page) -> None:
    failed: set[str] = set()

    def fail_once(route: Route) -> None:
        """Each of what the player asks for, and the sound as a file."""
        [what] = re.findall(r'"fn_name":"(\w+)"', route.request.post_data or '"fn_name":"sound"')
        if what in failed:
            route.continue_()
        else:
            failed.add(what)
            route.abort()

    humming.route(re.compile("component_server|file="), fail_once)
    hum(humming, "tunnel")
    humming.wait_for_function(f"{PLAYING} == 'live'")
    humming.wait_for_function(f"{PLAYING} == ''")
    assert "chunks" in failed
    failed.clear()  # what was made may have come as a file by now, too
    with humming.expect_event("requestfailed", lambda request: "file=" in request.url):
        humming.locator("[data-key=example-funk]").click()  # which comes as a file
    assert {"file", "sound"} <= failed
    humming.get_by_role("button", name="Play", exact=True).click()
    humming.wait_for_function(f"{PLAYING} == 'file'")


def test_what_was_heard_is_not_fetched_again_and_is_what_is_downloaded(humming: Page) -> None:
    asked: list[str] = []
    humming.on("request", lambda request: asked.append(request.post_data or ""))
    hum(humming, "jazz", seconds=3.3)
    humming.wait_for_function("document.querySelector('.player [data-on]').readyState >= 3")
    assert not [each for each in asked if '"fn_name":"file"' in each]
    heard = humming.evaluate("""async () => {
      const file = await fetch(document.querySelector(".player [data-on]").src);
      return [...new Uint8Array(await file.arrayBuffer())];
    }""")
    with humming.expect_download() as download:
        download_as(humming, "WAV")
    here, rate = soundfile.read(io.BytesIO(bytes(heard)), dtype="int16")
    there, same_rate = soundfile.read(download.value.path(), dtype="int16")
    assert (here == there).all()
    assert (rate, len(here)) == (same_rate, round(3.3 * rate))


def test_a_short_take_plays_by_itself_however_late_the_sound_opens(humming: Page) -> None:
    humming.evaluate("""() => {
      const { resume, suspend } = AudioContext.prototype;
      AudioContext.prototype.resume = function () {
        window.openSound = () => resume.call(this);
        return suspend.call(this);
      };
    }""")
    hum(humming, "late")
    assert humming.evaluate(PLAYING) == ""
    humming.evaluate("openSound()")
    humming.wait_for_function(f"{PLAYING} == 'live'")


def test_all_takes_are_as_loud_as_the_quietest(compared: Page) -> None:
    """They hum with a level of 1, 1/2, 1/3 and 1/4."""

    def volumes() -> list[float]:
        heard = []
        for number in "1234":
            compared.keyboard.press(number)
            compared.keyboard.press("k")
            compared.wait_for_function(f"{PLAYING} == 'file'")
            heard.append(compared.evaluate("document.querySelector('[data-on]').volume"))
            compared.keyboard.press("k")
        return heard

    same = compared.get_by_role("button", name="Same loudness")
    expect(same).to_have_attribute("aria-pressed", "true")
    assert volumes() == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1], abs=0.02)
    same.click()
    assert volumes() == [1, 1, 1, 1]
    same.click()


def test_a_click_into_a_waveform_plays_that_take_from_there(compared: Page) -> None:
    wave = row(compared, "Take 2").locator("canvas")
    box = wave.bounding_box()
    assert box is not None
    wave.click(position={"x": box["width"] * 0.5, "y": 10})
    compared.wait_for_function(f"{PLAYING} == 'file' && {TIME} > 4")
    assert compared.evaluate("document.querySelector('[data-on]').src").count("seed1001")
    assert compared.evaluate(TIME) < 6
    compared.get_by_role("button", name="Pause").click()


def test_a_blind_choice_hides_everything_until_it_is_made(compared: Page) -> None:
    compared.get_by_role("button", name="Blind").click()
    for hidden in ("title", "facts", "downloads", "picture"):
        expect(compared.locator(f".player [data-part={hidden}]")).to_be_hidden()
    expect(compared.locator(".takes .name")).to_have_text([""] * 4)
    expect(compared.locator(".takes .mark")).to_have_text([*"ABCD"])
    expect(compared.locator("[data-part=time]")).to_have_text(re.compile(r"^\d:\d\d$"))
    looks = compared.evaluate(
        "[...document.querySelectorAll('.takes [aria-checked=false] canvas')]"
        ".map((canvas) => canvas.toDataURL())"
    )
    assert len(set(looks)) == 1
    assert "seed" not in compared.locator(".player").inner_text()
    compared.keyboard.press("3")
    expect(row(compared, "C")).to_be_checked()
    with compared.expect_request(
        lambda request: (
            "/0" in told(request)
            or "/1" in told(request)
            or "/2" in told(request)
            or "/3" in told(request)
        )
    ) as asked:
        compared.get_by_role("button", name="Choose C").click()
    index = int(re.findall(r'"take": ?"[\w-]+/(\d)"', told(asked.value))[0])
    won = compared.locator(".takes [data-won]")
    expect(won).to_have_count(1)
    expect(won.locator(".mark")).to_have_text("C")
    expect(won.locator(".name")).to_have_text(f"seed {1000 + index}")
    expect(compared.locator("[data-part=facts]")).to_contain_text(f"seed {1000 + index}")
    compared.get_by_role("button", name="Blind").click()
    expect(compared.locator(".takes .mark")).to_have_text([*"1234"])
    expect(compared.locator(".takes [data-won] .mark")).to_have_text(str(index + 1))


def told(request: Any) -> str:
    """What a request says of a choice, "" for any other."""
    said = request.post_data or ""
    return said if '"event_data":{"take"' in said.replace(" ", "") else ""


def test_a_finish_is_heard_downloaded_and_stays_while_the_take_does_not_change(
    humming: Page,
) -> None:
    def downloaded() -> tuple[np.ndarray, Any]:
        with humming.expect_download() as download:
            download_as(humming, "WAV")
        data = download.value.path().read_bytes()
        settings = read_settings(data)
        assert settings is not None
        return soundfile.read(io.BytesIO(data), dtype="int16")[0], settings.get("finish")

    hum(humming, "jazz", seconds=4)
    facts = humming.locator("[data-part=facts]")
    plain, finish = downloaded()
    assert finish is None
    humming.get_by_text("Sound finish").click()
    humming.get_by_label("Even loudness").check()
    expect(facts).to_contain_text("now −14.0 LUFS")
    loud, finish = downloaded()
    assert finish == {"normalise": True, "trim": False, "fade_in": 0, "fade_out": 0}
    assert abs(loud).max() > abs(plain).max()
    fade = humming.locator("#fade-out input[type=number]")
    fade.fill("2")
    fade.blur()
    expect(facts).to_contain_text("fade-out 2 s")
    faded, finish = downloaded()
    assert (finish["fade_out"], len(faded)) == (2, len(plain))
    assert abs(faded[-1000:]).max() < 0.01 * abs(faded).max()
    hum(humming, "techno", seconds=3)
    expect(facts).to_contain_text("fade-out 2 s")
    assert downloaded()[1] == finish
    humming.get_by_label("Even loudness").uncheck()
    fade.fill("0")
    fade.blur()
    expect(facts).not_to_contain_text("fade")
    again, finish = downloaded()
    assert finish is None
    assert (again == plain[: len(again)]).all()


def test_one_sound_at_a_time_and_keys_where_nobody_types(humming: Page, tmp_path: Path) -> None:
    hum(humming, "jazz", seconds=20)
    humming.wait_for_function(f"{PLAYING} == 'live'")
    bring(humming, riff(tmp_path))
    humming.get_by_role("button", name="Play the stretch").click()
    humming.wait_for_function(f"{PLAYING} == ''")
    picker = "document.querySelector('.picker audio')"
    humming.wait_for_function(f"!{picker}.paused")
    humming.evaluate("document.activeElement.blur()")
    humming.keyboard.press("k")
    humming.wait_for_function(f"{PLAYING} == 'file' && {picker}.paused")
    humming.evaluate("""() => {
      window.other = new Audio(document.querySelector("[data-on]").src);
      other.play();
    }""")
    humming.wait_for_function(f"{PLAYING} == ''")
    humming.get_by_role("slider", name="Position").press(" ")
    humming.wait_for_function(f"{PLAYING} == 'file' && other.paused")
    humming.keyboard.press(" ")
    humming.get_by_role("slider", name="Position").press("Home")
    humming.keyboard.press("l")
    humming.keyboard.press("ArrowRight")
    expect(humming.locator("[data-part=time]")).to_have_text("0:04 / 0:20")
    humming.locator("#prompt textarea").press("k")
    expect(humming.locator("#prompt textarea")).to_have_value(re.compile("k"))
    assert humming.evaluate(PLAYING) == ""
    humming.evaluate("document.activeElement.blur()")
    humming.keyboard.press("?")
    help_ = humming.get_by_role("dialog", name="Keyboard")
    expect(help_).to_be_visible()
    humming.get_by_label("Single keys").uncheck()
    humming.keyboard.press("Escape")
    expect(help_).to_be_hidden()
    humming.keyboard.press("k")
    assert humming.evaluate(PLAYING) == ""


@pytest.mark.parametrize(("width", "takes"), [(1280, 1), (390, 1), (390, 4)])
def test_nothing_jumps_while_takes_are_made(page: Page, width: int, takes: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    if takes > 1:
        more_control(page, variations=takes)
        generate(page, "jazz", seconds=1)
        finished(page)
    ask(page, "lo-fi music with a soothing melody", seconds=5)
    page.wait_for_timeout(500)
    page.evaluate(NOTE_SHIFTS)
    begin(page, "#generate")
    finished(page)
    expect(page.get_by_role("button", name="Download as MP3").first).to_be_attached()
    page.wait_for_function(f"{PHASE} == 'done' && {PLAYING} == ''")
    shifts = page.evaluate("shifts")
    assert sum(value for value, *_ in shifts) < 0.02, shifts


def test_a_take_is_made_a_loop_that_plays_on_without_a_gap(humming: Page) -> None:
    humming.click("#examples [data-key=example-piano]")
    player, facts = humming.locator(".player"), humming.locator(".player [data-part=facts]")
    humming.wait_for_function(f"{PLAYING} == 'file'")
    humming.get_by_role("button", name="Make it loop").click()
    expect(facts).to_contain_text(re.compile("a loop .* joint|joint that is heard"))
    humming.wait_for_function(f"{PLAYING} == 'loop' && heard.at(-1)?.seconds < 9.9")
    looped = humming.evaluate("window.heard.at(-1)")
    length = re.search(r"/ 0:(\d+)", player.locator("[data-part=time]").inner_text())
    assert length is not None
    assert int(length[1]) == int(looped["seconds"])
    with humming.expect_download() as download:
        download_as(humming, "WAV")
    data = download.value.path().read_bytes()
    assert b"smpl" in data
    assert soundfile.info(io.BytesIO(data)).duration == pytest.approx(looped["seconds"], abs=0.01)
    humming.get_by_role("button", name="Repeat").click()
    humming.wait_for_function(f"{PLAYING} == 'file'")
    humming.get_by_role("button", name="Make it loop").click()
    expect(player.locator("[data-part=time]")).to_contain_text("/ 0:10")

"""The list of kept takes, in a real browser."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator

import pytest
import soundfile
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, Route, expect

from tests.browser.conftest import opened
from tests.browser.test_own_sound_page import choose_model, hum
from tests.browser.test_page import PHASE, download_as, finished
from tests.servers.app import serving
from tests.servers.openid import openid_provider

AUDIO = "document.querySelector('.player audio')"
TOKEN = re.compile(r"[0-9a-f]{48}")
SERVER = re.compile("component_server")  # what widgets call


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("library") / "log"
    with serving(log, "-m", "tests.browser.fast_page") as url:
        yield url


def row(page: Page, name: str) -> Locator:
    """The takes of that name; "goes on from" another is in the facts."""
    return page.locator("#library li").filter(has=page.locator(".name", has_text=name))


def names(page: Page) -> Locator:
    return page.locator("#library .name")


def choose(page: Page, name: str, action: str) -> None:
    row(page, name).get_by_role("button", name="More for").click()
    page.get_by_role("menuitem", name=action).click()


def number(page: Page, field: str) -> Locator:
    return page.locator(f"#{field} input[type=number]")


def test_a_take_is_listed_when_it_is_made_and_is_there_after_a_reload(humming: Page) -> None:
    library = humming.locator("#library")
    expect(library).to_contain_text("What you make is kept here: press Generate.")
    expect(humming.get_by_label("Search your takes")).to_be_hidden()
    danger = "<img src=x onerror=window.hacked=1>"
    hum(humming, danger)
    hum(humming, "kept jazz", seconds=4, seed=7)
    expect(names(humming)).to_have_text(["kept jazz", danger])
    expect(row(humming, "jazz")).to_contain_text("just now · seed 7 · 4 s · plain · This machine")
    humming.reload()
    expect(names(humming)).to_have_text(["kept jazz", danger])
    expect(library.locator(".count")).to_have_text("2")
    assert not humming.evaluate("window.hacked")
    listen = row(humming, "jazz").get_by_role("button", name="Listen to kept jazz")
    listen.click()
    humming.wait_for_function(f"{AUDIO}.currentTime > 0.2")
    expect(listen).to_have_attribute("aria-pressed", "true")
    expect(humming.locator(".player [data-part=facts]")).to_contain_text("seed 7")
    listen.click()
    expect(listen).to_have_attribute("aria-pressed", "false")
    assert humming.evaluate(f"{AUDIO}.paused")


def test_takes_are_searched_favoured_and_named(humming: Page) -> None:
    for prompt in ("slow waltz", "fast waltz"):
        hum(humming, prompt)
    search = humming.get_by_label("Search your takes")
    search.fill("WALTZ slow")
    expect(names(humming)).to_have_text(["slow waltz"])
    row(humming, "slow waltz").get_by_role("button", name="Favourite").click()
    search.fill("waltz")
    expect(names(humming)).to_have_count(2)
    humming.get_by_role("button", name="Favourites").click()
    expect(names(humming)).to_have_text(["slow waltz"])
    humming.get_by_role("button", name="Favourites").click()
    expect(names(humming)).to_have_count(2)
    choose(humming, "fast waltz", "Rename")
    field = humming.get_by_role("textbox", name="Name of the take")
    expect(field).to_be_focused()
    field.fill("no")
    field.press("Escape")
    expect(names(humming).first).to_have_text("fast waltz")
    choose(humming, "fast waltz", "Rename")
    keyboard = humming.context.new_cdp_session(humming)
    keyboard.send("Input.imeSetComposition", {"text": "乐", "selectionStart": 1, "selectionEnd": 1})
    keyboard.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", "key": "Enter"})
    expect(field).to_be_visible()  # Enter has ended the composition, not the renaming
    field.fill("Sunday waltz")
    field.press("Enter")
    expect(names(humming).first).to_have_text("Sunday waltz")
    expect(row(humming, "Sunday").get_by_role("button", name="More for Sunday")).to_be_focused()
    expect(row(humming, "Sunday").locator(".prompt-of")).to_have_text("fast waltz")
    expect(humming.locator(".player [data-part=title]")).to_have_text("Sunday waltz")
    with humming.expect_download() as download:
        download_as(humming, "FLAC")
    assert download.value.suggested_filename == "sunday-waltz-seed42.flac"
    with soundfile.SoundFile(download.value.path()) as file:
        assert file.title == "Sunday waltz"
    humming.reload()
    row(humming, "Sunday").get_by_role("button", name="Listen to").click()
    expect(humming.locator(".player [data-part=title]")).to_have_text("Sunday waltz")
    search.fill("sunday")
    expect(names(humming)).to_have_text(["Sunday waltz"])
    search.fill("nothing of the kind")
    expect(humming.locator("#library")).to_contain_text("No take with “nothing of the kind”.")


def test_a_deleted_take_comes_back_with_keys_alone(humming: Page) -> None:
    for prompt in ("polka one", "polka two", "polka three"):
        hum(humming, prompt, seconds=1)
    humming.get_by_label("Search your takes").fill("polka")
    expect(names(humming)).to_have_text(["polka three", "polka two", "polka one"])
    row(humming, "two").get_by_role("button", name="More for").press("Enter")
    humming.keyboard.press("End")
    humming.keyboard.press("Enter")
    expect(names(humming)).to_have_text(["polka three", "polka one"])
    expect(row(humming, "one").get_by_role("button", name="More for")).to_be_focused()
    expect(humming.get_by_role("status").filter(has_text="Take deleted")).to_be_visible()
    humming.keyboard.press("Control+z")
    expect(names(humming)).to_have_text(["polka three", "polka two", "polka one"])
    expect(row(humming, "two").get_by_role("button", name="More for")).to_be_focused()
    choose(humming, "one", "Delete")
    expect(names(humming)).to_have_count(2)
    humming.get_by_role("button", name="Undo").click()
    expect(names(humming)).to_have_count(3)


def test_a_takes_settings_are_used_again(humming: Page) -> None:
    hum(humming, "organ fugue", seconds=2, seed=1234)
    hum(humming, "something else", seconds=3, seed=1)
    choose(humming, "organ fugue", "Use these settings")
    expect(humming.locator("#prompt textarea")).to_have_value("organ fugue")
    expect(number(humming, "seed")).to_have_value("1234")
    expect(number(humming, "duration")).to_have_value("2")
    expect(humming.locator("#generate")).to_be_focused()
    choose(humming, "something else", "Same prompt, new seed")
    expect(humming.locator(".player [data-part=title]")).to_have_text("something else")
    finished(humming)
    expect(row(humming, "something else")).to_have_count(2)
    assert int(number(humming, "seed").input_value()) not in (1, 1234)


def test_a_take_is_continued_and_followed(humming: Page) -> None:
    hum(humming, "long hum", seconds=20)
    humming.reload()
    humming.fill("#prompt textarea", "")
    row(humming, "long hum").get_by_role("button", name="More for").click()
    expect(humming.get_by_role("menuitem", name="Use as melody")).to_have_count(0)
    humming.keyboard.press("Escape")
    choose(humming, "long hum", "Continue from here")
    expect(humming.locator("#prompt textarea")).to_have_value("long hum")
    picker = humming.locator("#picker")
    expect(picker.locator(".name")).to_have_text("“long hum”")
    expect(picker.get_by_role("slider", name="From")).to_have_attribute("aria-valuenow", "0.0")
    expect(picker.locator(".length")).to_contain_text("20.0 s kept, 20.0 s added: 40.0 s in all")
    hum(humming, "and on", seconds=3)
    expect(humming.locator(".player [data-part=facts]")).to_contain_text("23 s · goes on from")
    # What a sound is in can't be made again of settings alone: they are filled in, no more.
    choose(humming, "and on", "Same prompt, new seed")
    expect(number(humming, "seed")).not_to_have_value("42")
    expect(row(humming, "and on")).to_have_count(1)
    choose_model(humming, "tuneful")
    expect(humming.get_by_label("Follow its melody")).to_be_enabled()
    choose(humming, "long hum", "Use as melody")
    expect(picker.get_by_role("slider", name="From")).to_have_attribute("aria-valuenow", "0.0")
    expect(humming.get_by_label("Follow its melody")).to_be_checked()


def test_takes_are_compared_and_all_are_exported(humming: Page) -> None:
    for seconds, prompt in enumerate(("samba", "tango"), start=2):
        hum(humming, prompt, seconds=seconds)
    compare = humming.get_by_role("button", name="Compare", exact=False)
    expect(compare).to_be_disabled()
    for prompt in ("samba", "tango"):
        row(humming, prompt).get_by_role("checkbox").check()
    compare.click()
    chips = humming.get_by_role("radiogroup", name="Takes").get_by_role("radio")
    expect(chips).to_have_count(2)
    humming.wait_for_function(f"{AUDIO}.currentTime > 0")
    with humming.expect_download() as download:
        humming.get_by_role("button", name="Export all").click()
    assert download.value.suggested_filename == "musicgen-takes.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        listed = json.loads(archive.read("takes.json"))
        assert {"samba", "tango"} <= {take["prompt"] for take in listed}
        assert {take["file"] for take in listed} == {*archive.namelist()} - {"takes.json"}


def test_a_marked_take_that_was_deleted_elsewhere_is_no_longer_compared(
    humming: Page, browser: Browser, fast: str
) -> None:
    for prompt in ("bourree", "mazurka", "galop"):
        hum(humming, prompt)
        row(humming, prompt).get_by_role("checkbox").check()
    compare = humming.get_by_role("button", name="Compare", exact=False)
    expect(compare).to_have_text("Compare 3")
    with opened(browser, fast, 60_000) as another:
        choose(another, "mazurka", "Delete")
        expect(row(another, "mazurka")).to_have_count(0)
    humming.get_by_label("Search your takes").fill("galop")
    expect(names(humming)).to_have_text(["galop"])
    expect(compare).to_have_text("Compare 2")


def test_a_phone_shows_the_list_without_scrolling_sideways(humming: Page) -> None:
    hum(humming, "a long prompt " * 12)
    humming.set_viewport_size({"width": 390, "height": 844})
    assert humming.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    names(humming).first.scroll_into_view_if_needed()
    choose(humming, "a long prompt", "Delete")
    expect(humming.get_by_role("button", name="Undo")).to_be_in_viewport()


def visit(context: BrowserContext, address: str) -> tuple[Page, list[str]]:
    """A visitor's page, and every address that it asks for."""
    page = context.new_page()
    addresses: list[str] = []

    def note(request: Request) -> None:
        addresses.append(request.url)

    page.on("request", note)
    page.goto(address)
    page.wait_for_selector("#generate")
    return page, addresses


def test_on_a_shared_page_each_browser_finds_its_own_takes_only(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shared")
    command = ("-m", "tests.browser.fast_page")
    with serving(folder / "log", *command, GRADIO_SERVER_NAME="0.0.0.0") as address:
        ours, theirs, blocked = (browser.new_context() for _ in range(3))
        page, addresses = visit(ours, address)
        expect(page.locator("#library")).to_contain_text("for this browser only")
        hum(page, "secret melody", seconds=1)
        expect(names(page)).to_have_text(["secret melody"])
        other, _ = visit(theirs, address)
        hum(other, "another one", seconds=1)
        expect(names(other)).to_have_text(["another one"])
        page.reload()
        expect(names(page)).to_have_text(["secret melody"])
        page.get_by_role("button", name="Listen to").click()
        page.wait_for_function(f"{PHASE} == 'done' && {AUDIO}.currentTime > 0")
        token = page.evaluate("localStorage.getItem('musicgen-space:visitor')")
        assert TOKEN.fullmatch(token)
        assert token != other.evaluate("localStorage.getItem('musicgen-space:visitor')")
        assert not [address for address in addresses if token in address]
        written = [file for file in folder.rglob("*") if file.is_file()]
        assert not [file for file in written if token.encode() in file.read_bytes()]
        blocked.add_init_script(
            "Object.defineProperty(window, 'localStorage', { get() { throw new Error(); } })"
        )
        forgetful, _ = visit(blocked, address)
        expect(forgetful.locator("#library")).to_contain_text("found in this tab only")
        for context in (ours, theirs, blocked):
            context.close()


def test_takes_follow_who_signs_in_until_they_sign_out(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("signed") / "log"
    public = {"GRADIO_SERVER_NAME": "0.0.0.0"}
    with openid_provider() as provider:
        environment = provider.environment() | public
        with serving(log, "-m", "tests.browser.fast_page", **environment) as address:
            ours, theirs = browser.new_context(), browser.new_context()
            page, _ = visit(ours, address)
            hum(page, "made before", seconds=1)
            page.get_by_role("link", name="Sign in with Hugging Face").click()
            expect(page.locator("#library")).to_contain_text("yours wherever you sign in")
            expect(page.locator("#library .account")).to_contain_text("ada")
            expect(names(page)).to_have_text(["made before"])
            expect(page.locator("#prompt textarea")).to_have_value("made before")
            hum(page, "made since", seconds=1)
            expect(names(page)).to_have_text(["made since", "made before"])
            other, _ = visit(theirs, address)
            expect(other.locator("#library .empty")).to_be_visible()
            other.get_by_role("link", name="Sign in with Hugging Face").click()
            expect(names(other)).to_have_text(["made since", "made before"])
            choose(other, "made before", "Delete")
            expect(names(other)).to_have_text(["made since"])
            other.get_by_role("link", name="Sign out").click()
            expect(other.get_by_role("link", name="Sign in with Hugging Face")).to_be_visible()
            expect(names(other)).to_have_count(0)
            other.set_content(f"<iframe src='{address}/?__theme=dark' width=900 height=900>")
            sign = other.frame_locator("iframe").get_by_role("link", name="Sign in with")
            expect(sign).to_have_attribute("target", "_blank")
            provider.broken = "/oauth/token"
            other.goto(address)
            other.get_by_role("link", name="Sign in with Hugging Face").click()
            expect(other.locator("#library .bar")).to_contain_text("Signing in did not work")
            assert "#" not in other.url
            ours.close()
            theirs.close()


def test_what_is_said_of_a_list_that_is_still_being_read_passes_by_itself(humming: Page) -> None:
    waiting = {"note": {"id": "Earlier takes are still being read"}, "again": 0.1}
    asked: list[Route] = []

    def hold(route: Route) -> None:
        if "list_takes" not in str(route.request.post_data) or len(asked) == 2:
            route.continue_()
            return
        asked.append(route)
        if len(asked) == 1:
            answer = route.fetch()
            route.fulfill(response=answer, json=answer.json() | waiting)

    hum(humming, "read at last")
    expect(names(humming).first).to_have_text("read at last")
    humming.route(SERVER, hold)
    humming.reload()
    expect(humming.locator("#library .kept")).to_have_text("Earlier takes are still being read")
    while len(asked) < 2:
        humming.wait_for_timeout(20)
    asked[1].continue_()
    expect(humming.locator("#library .kept")).to_contain_text("Kept on this machine")
    expect(names(humming).first).to_have_text("read at last")


def test_an_undo_that_the_server_missed_can_be_tried_again(humming: Page) -> None:
    hum(humming, "hard to lose")
    choose(humming, "hard to lose", "Delete")
    expect(row(humming, "hard to lose")).to_have_count(0)
    undo = humming.get_by_role("button", name="Undo")
    humming.route(SERVER, lambda route: route.abort())
    undo.click()
    expect(humming.locator("#library .bar")).to_contain_text("The server did not answer")
    humming.unroute(SERVER)
    undo.evaluate("(undo) => { undo.click(); undo.click(); }")
    expect(row(humming, "hard to lose")).to_have_count(1)
    expect(humming.locator("#library .bar")).to_have_text(re.compile("Brought back"))


def test_variations_are_folded_below_the_first_and_rows_tell_what_differs(humming: Page) -> None:
    humming.get_by_text("More control").click()
    humming.fill("#negative-prompt :is(input, textarea)", "drums")
    humming.locator("#negative-prompt :is(input, textarea)").blur()
    hum(humming, "a march", seconds=2)
    expect(row(humming, "a march")).to_contain_text("without drums")
    humming.get_by_role("button", name="4 variations").click()
    unfold = humming.get_by_role("button", name="3 variations")
    expect(unfold).to_be_visible()
    shown = row(humming, "a march").filter(visible=True)
    expect(shown).to_have_count(2)
    unfold.click()
    expect(shown).to_have_count(5)


def test_the_player_stars_renames_and_goes_through_the_list(humming: Page) -> None:
    player, title = humming.locator(".player"), humming.locator(".player [data-part=title]")
    for prompt in ("first hum", "second hum"):
        hum(humming, prompt, seconds=2)
    player.get_by_role("button", name="Favourite").first.click()
    star = row(humming, "second hum").get_by_role("button", name="Favourite")
    expect(star).to_have_attribute("aria-pressed", "true")
    player.get_by_role("button", name="Rename").click()
    field = player.get_by_role("textbox", name="Name of the take")
    field.fill("My hum")
    field.press("Enter")
    expect(names(humming).first).to_have_text("My hum")
    expect(title).to_have_text("My hum")
    player.get_by_role("button", name="The take below").click()
    expect(title).to_have_text("first hum")
    with humming.expect_download() as download:
        choose(humming, "My hum", "Download")
    assert download.value.suggested_filename == "my-hum-seed42.mp3"
    humming.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(humming, "My hum", "Copy link")
    expect(humming.locator("#library [role=status]")).to_have_text("Link copied")
    assert "prompt=second+hum" in humming.evaluate("navigator.clipboard.readText()")


def test_whoever_listens_in_the_list_has_a_small_player_at_the_foot(humming: Page) -> None:
    for prompt in [f"hum {number}" for number in range(4)]:
        hum(humming, prompt, seconds=20)
    dock = humming.locator(".player .dock")
    expect(dock).to_be_hidden()
    humming.set_viewport_size({"width": 390, "height": 700})
    row(humming, "hum 0").scroll_into_view_if_needed()
    row(humming, "hum 0").get_by_role("button", name="Listen to").click()
    expect(dock).to_contain_text("hum 0")
    pause = dock.get_by_role("button", name="Pause")
    box, generate = pause.bounding_box(), humming.locator("#generate").bounding_box()
    assert box
    assert generate
    assert box["y"] + box["height"] <= generate["y"]
    pause.click()
    expect(row(humming, "hum 0").get_by_role("button", name="Listen to")).to_have_attribute(
        "aria-pressed", "false"
    )

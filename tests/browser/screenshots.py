"""Make the screenshots in docs/ and a Space's thumbnail anew, of this tree: ``make screenshots``.

The music is made by musicgen-nano, in a library of its own that is thrown away.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import launched
from tests.servers.app import serving

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
THUMBNAIL = ROOT / "musicgen_space" / "deploy" / "thumbnail.png"

PROMPTS = ("upbeat funk with brass and slap bass", "sad solo piano, slow", "happy chiptune, fast")
_COLOURS = 128  # enough for a page with one accent colour, and a third of the bytes
_PATIENCE = 120_000  # milliseconds


def main() -> None:
    """Write them all."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "log") as address,
        sync_playwright() as playwright,
    ):
        browser = launched(playwright.chromium)
        _take_pictures(browser, address)
        browser.close()


def _take_pictures(browser: Browser, address: str) -> None:
    page = _opened(browser, address, 1280, 1000)
    for prompt in reversed(PROMPTS):
        _make(page, prompt)
    _save(page, DOCS / "page.png")
    _cut(DOCS / "page.png", THUMBNAIL, 1000, 525)
    page.close()

    page = _opened(browser, address, 1280, 1000, reduced_motion="no-preference")
    _play_live(page, PROMPTS[1], "fast house with drums")
    _save(page, DOCS / "live.png")
    page.close()

    page = _opened(browser, address, 1280, 1000, color_scheme="dark")
    for mark in page.get_by_role("checkbox", name="Mark to compare").all():
        mark.check()
    page.get_by_role("button", name="Compare 3").click()
    page.wait_for_selector(".player[data-compared]")
    page.evaluate("window.scrollTo(0, 0)")
    _save(page, DOCS / "dark.png")
    page.close()

    page = _opened(
        browser, address, 390, 844, device_scale_factor=2, has_touch=True, is_mobile=True
    )
    _save(page, DOCS / "phone.png")
    page.close()


def _opened(browser: Browser, address: str, width: int, height: int, **options: object) -> Page:
    page = browser.new_page(
        viewport={"width": width, "height": height},
        locale="en-US",
        **{"reduced_motion": "reduce", **options},  # type: ignore[arg-type]
    )
    page.set_default_timeout(_PATIENCE)
    page.goto(address)
    page.wait_for_selector("#generate[data-price]")
    page.wait_for_timeout(1000)  # for what Gradio still moves
    if page.locator(".offer").is_visible():
        page.get_by_role("button", name="Not now").click()
    return page


def _make(page: Page, prompt: str) -> None:
    page.fill("#prompt textarea", prompt)
    page.click("#generate")
    page.wait_for_function(
        "prompt => document.querySelector('.player').dataset.phase === 'done' &&"
        " document.querySelector('.player .title').textContent === prompt",
        arg=prompt,
    )
    page.locator("#library .name").first.filter(has_text=prompt).wait_for()
    page.click(".player [data-part=play]")
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")


def _play_live(page: Page, prompt: str, another: str) -> None:
    """Live music that is about to change."""
    page.fill("#prompt textarea", prompt)
    page.click("#play-live button")
    page.wait_for_function("document.querySelector('.live [data-part=clock]').textContent > '0:04'")
    page.fill("#prompt textarea", another)
    page.press("#prompt textarea", "Enter")
    page.locator(".live [data-part=coming]").filter(has_text=another).wait_for()
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")


def _save(page: Page, file: Path) -> None:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def _cut(file: Path, into: Path, width: int, height: int) -> None:
    """The top of a picture, in the shape that link previews have."""
    picture = Image.open(file).convert("RGB")
    part = picture.crop((0, 0, picture.width, picture.width * height // width))
    small = part.resize((width, height), Image.Resampling.LANCZOS)
    small.quantize(_COLOURS, dither=Image.Dither.NONE).save(into, optimize=True)


if __name__ == "__main__":
    main()

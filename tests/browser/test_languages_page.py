"""The page for visitors whose browsers speak other languages."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened

# Some of what everybody sees; none of it may be left where the page is in another language.
ENGLISH = (
    *("Where the music is made", "This machine", "Describe the music", "Mood", "Model"),
    *("Length", "Seconds of music", "Same seed", "Random seed", "Your own sound"),
    *("Continue it", "More control", "The music", "Takes at once", "Guidance", "Generate"),
    *(
        "Open a take",
        "Surprise me",
        "Keep this seed",
        "Another",
        "4 variations",
        "Sound finish",
        "Even loudness",
        "Examples",
        "made",
    ),
    *("Lullaby", "Copy link", "Spectrogram", "real time", "Your takes", "Kept on", "Favourites"),
    *("Compare", "Export all", "just now", "Keyboard", "is ready"),
)


def words_on(page: Page) -> str:
    """All that can be read or read aloud, but for the models' own names and words."""
    return str(
        page.evaluate("""() => [
          document.body.innerText,
          ...[...document.querySelectorAll("*")].flatMap((node) =>
            ["aria-label", "placeholder", "title"].map((name) => node.getAttribute(name) ?? "")
          ),
        ].join("\\n")""")
    )


def english_left(page: Page) -> list[str]:
    words = words_on(page)
    return [text for text in ENGLISH if re.search(rf"\b{re.escape(text)}\b", words)]


def wide(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def make(page: Page, prompt: str = "sad solo piano") -> None:
    page.fill("#prompt textarea", prompt)
    page.locator("#duration input[type=number]").fill("1")
    page.keyboard.press("Tab")
    page.click("#generate")
    page.wait_for_selector(".player[data-phase=done] .takes, .player[data-phase=done]")
    expect(page.locator(".player .title")).to_have_text(prompt)


def test_the_page_is_in_german(browser: Browser, address: str) -> None:
    """The whole page, from a take's making to its row in the list."""
    with opened(browser, address, 90_000, locale="de-DE") as page:
        expect(page.locator("html")).to_have_attribute("lang", "de")
        expect(page.locator("#generate")).to_have_text("Erzeugen")
        expect(page.locator("#money")).to_have_text(
            "Dieser Rechner: kostenlos, privat, so schnell wie deine Hardware."
        )
        expect(page.locator(".player .progress")).to_have_text(
            "Ein Beispiel, erzeugt von musicgen-nano"
        )
        expect(page.get_by_role("button", name="Wiegenlied")).to_be_visible()
        expect(page.locator("#examples [data-key=example-lo-fi]")).to_have_attribute(
            "title", "lo-fi music with a soothing melody"
        )
        seen = told_meanwhile(page)
        make(page)
        expect(page.locator(".player .facts")).to_have_text(
            re.compile(r"^musicgen-nano · Seed 42 · 1 s · in [\d,]+ s erzeugt, [\d,]+× Echtzeit$")
        )
        assert "Wird vorbereitet" in seen()
        expect(page.locator(".player [data-part=announcement]")).to_have_text(
            "Der Take ist fertig."
        )
        expect(page.locator("#library .facts-of").first).to_have_text(
            "gerade eben · Seed 42 · 1 s · musicgen-nano · Dieser Rechner"
        )
        page.click("#words [aria-pressed]:text-is('jazz')")
        expect(page.locator("#prompt textarea")).to_have_value("sad solo piano, jazz")
        page.click("#own > button")
        page.locator("#backend label").nth(1).click()
        expect(page.locator("#money")).to_contain_text("Segmind: gehostet, etwa 22 Sekunden")
        expect(page.locator("#key")).to_contain_text("Segmind-API-Schlüssel")
        expect(page.locator("#own-about")).to_have_text("Nicht bei Segmind.")
        page.click("#more > button")
        expect(page.locator("#temperature")).to_contain_text("Nicht bei Segmind.")
        page.locator("#backend label").first.click()
        expect(page.locator("#temperature")).to_contain_text("Unter 1 ruhiger")
        page.click("#finish > button")
        assert english_left(page) == []


def told_meanwhile(page: Page) -> Callable[[], list[str]]:
    """Begin to note the player's status; → what was noted."""
    page.evaluate("""() => {
      const status = document.querySelector(".player .progress");
      window.told = [];
      new MutationObserver(() => window.told.push(status.textContent))
        .observe(status, { childList: true });
    }""")
    return lambda: list(page.evaluate("window.told"))


def test_the_page_is_in_chinese(browser: Browser, fast: str) -> None:
    with opened(browser, fast, 60_000, locale="zh-CN") as page:
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        expect(page.locator("#generate")).to_have_text("生成")
        prompt = page.locator("#prompt textarea")
        expect(prompt).to_have_attribute("placeholder", re.compile("请用英语"))
        prompt.fill("jazz 音乐")
        expect(page.locator(".text-note").first).to_have_text("模型不认识：音乐")
        make(page)
        expect(page.locator(".player .facts")).to_contain_text("种子 42 · 1 秒 · 用时")
        page.click("#library .dots")
        expect(page.locator("#library [role=menuitem]").first).to_have_text("使用这些设置")
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        expect(page.locator("#keys dialog")).to_contain_text("播放或暂停")
        page.keyboard.press("Escape")
        assert english_left(page) == []


@pytest.mark.parametrize(
    ("locale", "language", "generate"),
    [("fr-CA", "fr", "Générer"), ("es-MX", "es", "Generar"), ("pt-BR", "en", "Generate")],
)
def test_a_region_has_its_language_and_an_unknown_one_english(
    browser: Browser, fast: str, locale: str, language: str, generate: str
) -> None:
    with opened(browser, fast, 60_000, locale=locale) as page:
        expect(page.locator("#generate")).to_have_text(generate)
        expect(page.locator("html")).to_have_attribute("lang", language)


@pytest.mark.parametrize("locale", ["de-DE", "es-ES", "fr-FR", "zh-CN"])
def test_long_words_have_room_on_a_phone(browser: Browser, fast: str, locale: str) -> None:
    with opened(browser, fast, 60_000, width=390, locale=locale) as page:
        for section in ("more", "finish", "own"):
            page.click(f"#{section} > button")
        page.locator("#variations input[type=number]").fill("2")
        make(page)
        page.wait_for_selector(".player [data-part=tools]:not([hidden])")
        assert wide(page) == 0
        page.click(".player [data-part=blind]")
        page.click("#library .dots >> nth=0")
        page.wait_for_selector("#library [role=menuitem]")
        assert wide(page) == 0

"""A real page in a real browser: Debian's Chromium, or the one Playwright brings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, BrowserType, Page, expect, sync_playwright

from tests.servers.app import serving
from tests.servers.segmind import Segmind, running

expect.set_options(timeout=60_000)  # the browser shares two cores with the music

# The first that is here; else Playwright's own. Without a window it needs a third less.
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")

# Made-up names of this machine, for what browsers allow to none of its usual ones.
NAMES = "--host-resolver-rules=MAP *.test 127.0.0.1"

# Remembers every buffer that is played: when, how long, how loud, and how loud at its end.
LISTEN = """
window.heard = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when, ...rest) {
  const samples = this.buffer.getChannelData(0);
  const loudest = (some) => some.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  const [peak, last] = [samples, samples.slice(-samples.length / 10)].map(loudest);
  window.heard.push({ when, seconds: this.buffer.duration, peak, last });
  return start.call(this, when, ...rest);
};
"""


# How far things that were already seen have moved, all in all.
WATCH_SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.fixture(scope="session")
def segmind() -> Segmind:
    """The hosted API's local stand-in, which counts what it bills."""
    return Segmind()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page over this machine and the stand-in."""
    log = tmp_path_factory.mktemp("app") / "log"
    with running(Segmind()) as api, serving(log, SEGMIND_BASE_URL=api) as url:
        yield url


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fast page's app prints."""
    return tmp_path_factory.mktemp("fast") / "log"


@pytest.fixture(scope="session")
def fast(segmind: Segmind, log: Path) -> Iterator[str]:
    """The page over a backend that hums, far faster than music is made, and the stand-in."""
    command = ("-m", "tests.browser.fast_page")
    with running(segmind) as api, serving(log, *command, SEGMIND_BASE_URL=api) as url:
        yield url


@pytest.fixture
def humming(profile: BrowserContext, fast: str) -> Iterator[Page]:
    """The fast page, freshly opened."""
    with visited(profile, fast, 60_000) as page:
        yield page


# While it runs, a test of this process can't have an event loop of its own: not for the session.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, closing(launched(playwright.chromium)) as browser:
        yield browser


def launched(chromium: BrowserType, *options: str) -> Browser:
    """A browser that asks nobody for anything of its own."""
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    return chromium.launch(
        executable_path=next(filter(None, map(shutil.which, BROWSERS)), None),
        args=["--no-sandbox", "--disable-gpu", "--no-first-run", NAMES, *quiet, *options],
    )


@pytest.fixture(scope="package")
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """What most cases share: to load and compile Gradio's code anew takes half of a case."""
    with closing(browser.new_context(viewport={"width": 1280, "height": 900})) as profile:
        yield profile


@pytest.fixture
def page(profile: BrowserContext, address: str) -> Iterator[Page]:
    """The page, freshly opened."""
    with visited(profile, address, 90_000) as page:
        yield page


@contextmanager
def visited(profile: BrowserContext, address: str, patience: float) -> Iterator[Page]:
    """The page as a first visitor sees it: of earlier ones only the page's files are left."""
    profile.clear_cookies()
    profile.clear_permissions()
    page = profile.new_page()
    stored = {"origin": address, "storageTypes": "local_storage,indexeddb"}
    profile.new_cdp_session(page).send("Storage.clearDataForOrigin", stored)
    with shown(page, address, patience):
        yield page


@contextmanager
def opened(
    browser: Browser, address: str, patience: float, width: int = 1280, **options: Any
) -> Iterator[Page]:
    """The page in a profile of its own; ``options`` are the browser's, such as ``locale``."""
    page = browser.new_page(viewport={"width": width, "height": 900}, **options)
    with shown(page, address, patience):
        yield page


@contextmanager
def shown(page: Page, address: str, patience: float) -> Iterator[None]:
    """Load ``address`` in ``page``. Fails on a script error and on a request to another host.

    ``patience`` is in milliseconds.
    """
    page.set_default_timeout(patience)
    page.add_init_script(LISTEN + WATCH_SHIFTS)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
    page.on("request", lambda request: problems.extend(foreign(request.url, address)))
    page.goto(address)
    page.wait_for_selector("#generate")
    page.wait_for_selector("#restore", state="attached")  # it comes last
    yield
    page.close()
    assert not problems


def foreign(url: str, address: str) -> list[str]:
    ours = url.startswith((address, "data:", "blob:"))
    return [] if ours else [f"request to another host: {url}"]

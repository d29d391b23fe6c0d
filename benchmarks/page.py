"""What the page adds to a take, in a real browser: this working tree against another one.

Both serve the same backend, in processes of their own, and take turns, so that both meet the
same moods of a shared machine. Measured are, from pressing Generate: when the first sound is
handed to the sound card, when the finished take is shown, when its sound can be played again,
and when Generate is back; what of the second is not the engine's time; and how much is asked of
the server, with how many bytes. The backend hums at 100 × real time (``tests/browser/fast_page``),
so the page's part shows; ``--nano`` takes the embedded checkpoint. Run it from the project's root,
with a working tree of what came before (``git worktree add /tmp/before main``)::

    python -m benchmarks.page --before /tmp/before [--seconds 5] [--rounds 10] [--nano]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.servers.app import serving

ROOT = Path(__file__).parents[1]
MEASURED = {
    "first_sound": ("first sound", "ms"),
    "done": ("the take is finished", "ms"),
    "overhead": ("what of that is not the engine's", "ms"),
    "playable": ("its sound can be played again", "ms"),
    "ready": ("Generate is back", "ms"),
    "requests": ("requests", ""),
    "kilobytes": ("received", "kB"),
}

# Notes when things happen, in milliseconds from pressing Generate.
NOTE = """() => {
  const player = document.querySelector(".player");
  let noted, before, pressed, looking;
  const note = (what) => { noted[what] ??= performance.now() - pressed; };
  const { start } = AudioBufferSourceNode.prototype;
  AudioBufferSourceNode.prototype.start = function (...how) {
    note("first_sound");
    return start.apply(this, how);
  };
  const look = () => {
    if (player.dataset.take === before) return;
    if (player.dataset.phase === "done") note("done");
    if (!noted.done) return;
    if (player.querySelector("audio[data-on]")?.readyState >= 3) note("playable");
    if (document.querySelector("#generate")?.offsetParent) note("ready");
    if (noted.playable && noted.ready && noted.first_sound) clearInterval(looking);
  };
  performance.setResourceTimingBufferSize(5000);
  window.press = () => {
    performance.clearResourceTimings();
    window.noted = noted = {};
    before = player.dataset.take;
    pressed = performance.now();
    document.querySelector("#generate").click();
    looking = setInterval(look, 1);
  };
}"""
WHOLE = "noted.playable && noted.ready && noted.first_sound"
ASKED = """performance.getEntriesByType("resource")
  .filter(({ name }) => name.startsWith("http")).map(({ encodedBodySize }) => encodedBodySize)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, metavar="FOLDER", required=True)
    parser.add_argument("--seconds", type=float, default=5, help="of music in a take")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--nano", action="store_true", help="with the embedded checkpoint")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/page.json"))
    options = parser.parse_args()
    report = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "backend": "musicgen-nano" if options.nano else "humming",
        "seconds": options.seconds,
        "takes": compare(options),
    }
    show(report)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def compare(options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Let both take turns; → what was measured of each take."""
    trees = {"before": options.before.resolve(), "after": ROOT}
    command = ["app.py"] if options.nano else ["-m", "tests.browser.fast_page"]
    takes: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    with ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"],
        )
        stack.callback(browser.close)
        pages = {}
        for name, tree in trees.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            address = stack.enter_context(serving(folder / "log", *command, cwd=tree))
            pages[name] = opened(browser, address, options.seconds)
        for round_ in range(options.rounds + 1):  # the first one warms up and does not count
            names = [*trees] if round_ % 2 else [*trees][::-1]
            for name in names:
                take = measured(pages[name], options.seconds, seed=round_)
                if round_:
                    takes[name].append(take)
    return takes


def opened(browser: Browser, address: str, seconds: float) -> Page:
    """The page with a wish filled in."""
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.fill("#prompt textarea", "lo-fi music with a soothing melody")
    number = page.locator("#duration input[type=number]")
    number.fill(str(seconds))
    number.blur()
    page.wait_for_timeout(1000)
    page.evaluate(NOTE)
    return page


def measured(page: Page, seconds: float, seed: int) -> dict[str, float]:
    """One take: milliseconds, requests, and kB that were received for it."""
    number = page.locator("#seed input[type=number]")
    number.fill(str(seed))  # the same wish twice is made once
    number.blur()
    page.wait_for_timeout(500)
    page.evaluate("press()")
    page.wait_for_function(WHOLE)
    page.wait_for_timeout(500)  # its last stream ends, and the list of takes is read
    noted: dict[str, float] = page.evaluate("noted")
    sizes = page.evaluate(ASKED)
    factor = re.search(r"([\d.]+)× real time", page.locator("[data-part=facts]").inner_text())
    assert factor is not None
    engine = seconds / float(factor[1]) * 1000
    own = {"overhead": noted["done"] - engine}
    return noted | own | {"requests": len(sizes), "kilobytes": sum(sizes) / 1000}


def show(report: dict[str, Any]) -> None:
    print(f"{report['backend']}, {report['seconds']:g} s takes, on {report['machine']}\n")
    print("| from pressing Generate, median (min – max) | before | after | ratio |")
    print("|---|---|---|---|")
    for key, (name, unit) in MEASURED.items():
        columns = {who: [take[key] for take in takes] for who, takes in report["takes"].items()}
        pairs = zip(columns["after"], columns["before"], strict=True)
        ratio = statistics.median(after / before for after, before in pairs)
        cells = " | ".join(f"{spread(values)} {unit}" for values in columns.values())
        print(f"| {name} | {cells} | {ratio:.2f} |")


def spread(values: list[float]) -> str:
    """The median, the least and the greatest."""
    return f"{statistics.median(values):.0f} ({min(values):.0f} – {max(values):.0f})"


if __name__ == "__main__":
    main()

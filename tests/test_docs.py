"""The documentation is true: links lead somewhere, tables are those of the code, snippets run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.app import ROOT, serving
from tests.servers.segmind import KEY, Segmind, running
from tools.docs import DOCS, pages

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
HOME = "http://127.0.0.1:7860"


def snippets(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("app") / "log"
    with serving(log, "-m", "tests.browser.fast_page") as url:
        yield url


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)
    for link in (first or second for first, second in links):
        name, _, anchor = link.partition("#")
        if "://" in name:
            continue
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {title.lower().replace(" ", "-") for title in titles}, link


def test_the_readme_is_of_one_screen_and_a_bit() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= 130


@pytest.mark.parametrize("page", ["../README.md", "python.md"])
def test_the_python_api_works_as_written(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From block to block, with a second of music wherever there are more."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with running(Segmind()) as url:
        monkeypatch.setenv("SEGMIND_BASE_URL", url)
        monkeypatch.setenv("SEGMIND_API_KEY", KEY)
        for code in snippets(page, "python"):
            exec(re.sub(r"\bduration=\d{1,2}\b", "duration=1", code), names)


@pytest.mark.parametrize("name", pages())
def test_tables_are_those_of_the_code(name: str) -> None:
    """`make docs` writes them."""
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name]


def test_a_program_in_python_works_as_written(address: str, tmp_path: Path) -> None:
    [code] = snippets("programs.md", "python")
    code = code.replace(HOME, address)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    _, made, *_, last = done.stdout.decode().splitlines()
    assert made.split()[1:3] == ["plain", "7"]
    assert last == "Done"


def test_curl_works_as_written(address: str, tmp_path: Path) -> None:
    [script] = snippets("programs.md", "sh")
    script = script.replace(HOME, address)
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, cwd=tmp_path)
    assert "event: complete" in done.stdout, done.stderr
    assert '"status": "Done"' in done.stdout

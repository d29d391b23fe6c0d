"""The documentation is true: links lead somewhere, tables are those of the code, snippets run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import soundfile

from tests.servers.app import ROOT, serving
from tests.servers.segmind import KEY, Segmind, running
from tests.servers.spaces import Hub, Space
from tests.servers.spaces import running as running_hub
from tools.docs import DOCS, pages

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
HOME = "http://127.0.0.1:7860"
SPACE, HOST = "someone/music", "someone-music.hf.space"
JAVASCRIPT = ROOT / "tests/javascript/node_modules"


def snippets(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("app") / "log"
    with serving(log, "-m", "tests.browser.fast_page") as url:
        yield url


@pytest.fixture(scope="module")
def hub(address: str) -> Iterator[str]:
    """A hub on which the page is a Space."""
    host = address.replace("127.0.0.1", HOST)
    with running_hub(Hub(**{SPACE: Space(host=host)})) as url:
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


@pytest.mark.parametrize("by_name", [False, True], ids=["address", "name of a Space"])
def test_a_program_in_python_works_as_written(
    address: str, hub: str, by_name: bool, tmp_path: Path
) -> None:
    code, _ = snippets("programs.md", "python")
    code = code.replace(HOME, SPACE if by_name else address)
    done = ran([sys.executable, "-m", "tests.servers.loader", code], tmp_path, hub)
    _, made, *_, last = done.splitlines()
    assert made.split()[1:3] == ["plain", "7"]
    assert last == "Done"


@pytest.mark.skipif(
    not shutil.which("node") or not JAVASCRIPT.exists(), reason="needs node: make javascript"
)
def test_a_program_in_javascript_works_as_written(address: str, hub: str, tmp_path: Path) -> None:
    [code] = snippets("programs.md", "js")
    (tmp_path / "node_modules").symlink_to(JAVASCRIPT)
    (tmp_path / "program.mjs").write_text(code.replace(HOME, address))
    url, *made = ran(["node", "program.mjs"], tmp_path, hub).split()
    assert made == ["plain", "7"]
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read(4) == b"RIFF"


def test_the_page_in_another_gradio_app_works_as_written(hub: str, tmp_path: Path) -> None:
    _, code = snippets("programs.md", "python")
    code = code.replace("my-name/my-space", SPACE)
    settings = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"}
    with serving(tmp_path / "log", "-m", "tests.servers.loader", code, **settings) as loaded:
        call = f"{loaded}/gradio_api/call/generate"
        fields = httpx.get(f"{loaded}/gradio_api/info").json()["named_endpoints"]["/generate"]
        given = [each["parameter_default"] for each in fields["parameters"]]
        given[:3] = ["jazz", 1, 7]
        event = httpx.post(call, json={"data": given}).json()["event_id"]
        done = httpx.get(f"{call}/{event}", timeout=60).text.split("event: complete\ndata: ")[1]
        file, made = json.loads(done)
        assert (made["status"], made["seed"], made["duration"]) == ("Done", 7, 1)
        # Its own route fetches that for a browser, but from no address of this machine.
        file_of_space = file["url"].partition("/proxy=")[2].replace(HOST, "127.0.0.1")
        assert httpx.get(file_of_space).content.startswith(b"RIFF")


@pytest.mark.parametrize("number", [0, 1], ids=["by name", "by place"])
def test_curl_works_as_written(address: str, number: int, tmp_path: Path) -> None:
    script = snippets("programs.md", "sh")[number].replace(HOME, address)
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, cwd=tmp_path)
    assert "event: complete" in done.stdout, done.stderr
    assert '"status": "Done"' in done.stdout


def test_the_http_api_works_as_written(address: str, tmp_path: Path) -> None:
    script = snippets("server.md", "sh")[1].replace(HOME, address)
    subprocess.run(["bash", "-euc", script], check=True, cwd=tmp_path)
    assert soundfile.info(tmp_path / "take.wav").duration == 12


def ran(command: list[str], folder: Path, hub: str) -> str:
    """What a program prints that runs in ``folder`` and asks ``hub`` for Spaces."""
    ours = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **ours}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

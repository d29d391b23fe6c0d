"""Whose quota a take is on: that of whoever asks, at the page, by the API and by MCP."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from gradio_client import Client

from tests.page.test_api import call
from tests.servers.app import serving
from tests.servers.zerogpu import TOKEN, Device, device_api

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ZeroGPU's client is for Linux")

HEADERS = {"x-ip-token": TOKEN}


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with device_api() as device:
        yield device


@pytest.fixture(scope="module")
def page(
    device: Device, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    log = tmp_path_factory.mktemp("zerogpu") / "log"
    command = ("-m", "tests.servers.zerogpu_page", str(tiny_folder), device.url)
    with serving(log, *command) as address:
        yield address


@pytest.fixture(autouse=True)
def forget(device: Device) -> None:
    device.asked.clear()
    device.answer = "lent"


def test_a_press_of_generate_is_on_the_visitors_quota(page: str, device: Device) -> None:
    assert re.search('"ended":"[^"]', pressed(page, headers=HEADERS))
    assert device.tokens == [TOKEN]


def test_a_call_by_name_is_on_the_callers_quota(page: str, device: Device) -> None:
    _, made = Client(page, headers=HEADERS, verbose=False).predict(
        "jazz", duration=1, api_name="/generate"
    )
    assert made["backend"] == "zerogpu"
    assert device.tokens == [TOKEN]


def test_a_call_by_mcp_is_on_the_callers_quota(page: str, device: Device) -> None:
    result = call(page, headers=HEADERS, prompt="jazz", duration=1)
    assert not result.isError
    assert device.tokens == [TOKEN]


def test_the_player_says_what_to_do_when_the_quota_is_used_up(page: str, device: Device) -> None:
    device.answer = "quota"
    news = pressed(page, headers=HEADERS)
    assert "Sign in to Hugging Face for more" in news
    assert '"left":"20"' in news


def pressed(page: str, headers: dict[str, str]) -> str:
    """Press Generate over HTTP; → what the page is told until the end of it."""
    config = httpx.get(f"{page}/config").json()
    fields = {each["id"]: each["props"] for each in config["components"]}
    [make] = [each for each in config["dependencies"] if each["api_name"] == "make"]
    filled = {"prompt": "jazz", "key": "", "duration": 1}
    data = [
        filled.get(props.get("elem_id"), props.get("value"))
        for props in map(fields.__getitem__, make["inputs"])
    ]
    session = uuid4().hex
    body = {"data": data, "fn_index": make["id"], "session_hash": session}
    with httpx.Client(base_url=f"{page}/gradio_api", headers=headers, timeout=60) as client:
        client.post("/queue/join", json=body).raise_for_status()
        news = []
        with client.stream("GET", "/queue/data", params={"session_hash": session}) as answer:
            for line in answer.iter_lines():
                news.append(line)
                if "process_completed" in line:
                    break
    return "\n".join(news)

"""What one hostile visitor does to the others, over real HTTP."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import threading
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import gradio as gr
import httpx
import pytest
from gradio.routes import App

from musicgen_space.page.visitors.gate import is_open
from tests.audio.test_bombs import hours_of_vorbis
from tests.page.attack import listening_on
from tests.page.test_api import call
from tests.servers.app import serving
from tests.servers.slow_page import PATIENCE, SESSIONS, UPLOAD_BYTES, UPLOAD_BYTES_EACH

PUBLIC = {"GRADIO_SERVER_NAME": "0.0.0.0"}
LONG, SHORT = {"duration": 300}, {"duration": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[str]:
    """A public page behind a proxy, which is whoever sends ``X-Forwarded-For`` here."""
    command = ("-m", "tests.servers.slow_page")
    with serving(folder / "log", *command, MUSICGEN_PROXIES="127.0.0.1", **PUBLIC) as url:
        yield url


@pytest.fixture(scope="module")
def bare_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A public page without a proxy, whose owner pays three hosted takes an hour."""
    log = tmp_path_factory.mktemp("bare") / "log"
    with serving(log, "-m", "tests.servers.slow_page", **PUBLIC) as url:
        yield url


class Visitor:
    """Somebody at an address of their own, behind the proxy."""

    def __init__(self, page: str, address: str) -> None:
        self._page = page
        self._known: dict[str, Any] = {"headers": {"x-forwarded-for": address}, "timeout": 30}

    def ask(self, prompt: str, **wish: Any) -> str:
        """Ask for a take; → where its news come."""
        url = f"{self._page}/gradio_api/call/v2/generate"
        answer = httpx.post(url, json={"prompt": prompt, **wish}, **self._known)
        return f"{url}/{answer.json()['event_id']}"

    def hear(self, news: str, until: str | None = None) -> str:
        """Listen till then, or to the end; → what came."""
        heard = ""
        with httpx.stream("GET", news, **self._known) as answer:
            for line in answer.iter_lines():
                heard += line + "\n"
                if until and until in line:
                    break
        return heard

    def send(self, content: int | bytes) -> Path:
        """Upload a file, or so many bytes of noise; → where it is."""
        data = os.urandom(content) if isinstance(content, int) else content
        files = {"files": ("sound.wav", data)}
        answer = httpx.post(f"{self._page}/gradio_api/upload", files=files, **self._known)
        return Path(answer.json()[0])


def until(came: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not came():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def told(folder: Path, prefix: str) -> list[str]:
    """What the machine printed of takes whose prompts begin so."""
    lines = (folder / "log").read_text().splitlines()
    return [line for line in lines if f" {prefix}" in line and line[0] in "bnms"]


def test_one_with_many_calls_delays_another_by_one_take(page: str, folder: Path) -> None:
    greedy, other = Visitor(page, "8.8.8.1"), Visitor(page, "8.8.8.2")
    ends: list[str] = []

    def call(number: int) -> None:
        ends.append(greedy.hear(greedy.ask(f"greedy {number}", duration=20)))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(14)]
    for thread in threads:
        thread.start()
    until(lambda: bool(told(folder, "greedy")))
    news = other.ask("modest", **SHORT)
    made_before = len(told(folder, "greedy"))
    assert '"status": "Done"' in other.hear(news)
    between = told(folder, "greedy")[made_before:]
    assert [line[:5] for line in between].count("began") <= 2  # one after it, while it was told
    for thread in threads:
        thread.join()
    refused = [end for end in ends if "3 of yours wait already" in end]
    assert refused
    assert len(refused) + len([end for end in ends if '"status": "Done"' in end]) == 14


def test_what_nobody_ever_listens_to_is_not_made(page: str, folder: Path) -> None:
    first, second, third = (Visitor(page, f"8.8.8.{number}") for number in (3, 4, 5))
    first.ask("unheard", **LONG)
    until(lambda: told(folder, "unheard") == ["began unheard", "stopped unheard"])
    heard = second.ask("heard", **LONG)
    third.ask("unheard too", **LONG)
    with httpx.stream("GET", heard):
        until(lambda: "never began unheard too" in told(folder, "unheard"))
    until(lambda: told(folder, "heard") == ["began heard", "stopped heard"])


def test_what_nobody_listens_to_any_more_is_not_made(page: str, folder: Path) -> None:
    first, second = Visitor(page, "8.8.8.6"), Visitor(page, "8.8.8.7")
    one, two = first.ask("left", **LONG), second.ask("left waiting", **LONG)
    with httpx.stream("GET", one):
        second.hear(two, until="You are next")
        until(lambda: "never began left waiting" in told(folder, "left"), PATIENCE + 5)
        assert "stopped left" not in told(folder, "left")
    until(lambda: "stopped left" in told(folder, "left"), PATIENCE + 5)


def test_a_header_that_anybody_can_write_gets_nobody_more_of_the_owners_takes(
    bare_page: str,
) -> None:
    visitors = [Visitor(bare_page, f"8.8.4.{number}") for number in range(12)]
    asked = [(each, each.ask("paid", backend="hosted", model="model")) for each in visitors]
    heard = [visitor.hear(news) for visitor, news in asked]
    assert sum('"status": "Done"' in each for each in heard) == 3


def test_behind_a_proxy_that_is_named_each_visitor_has_their_own(page: str) -> None:
    forged = [f"9.9.9.{number}, 8.8.4.1" for number in range(4)]
    several = [f"9.9.9.9, 8.8.5.{number}" for number in range(4)]

    def paid(address: str) -> bool:
        visitor = Visitor(page, address)
        news = visitor.ask("paid", backend="hosted", model="model")
        return '"status": "Done"' in visitor.hear(news)

    assert [paid(address) for address in forged] == [True, True, True, False]
    assert all(paid(address) for address in several)


def test_all_of_mcp_has_as_many_of_the_owners_takes_as_one_visitor(page: str) -> None:
    hosted = {"prompt": "paid", "backend": "hosted", "model": "model"}
    visitors = [{"x-forwarded-for": f"8.8.7.{n}", "x-gradio-user": "api"} for n in range(5)]
    made = [not call(page, headers=headers, **hosted).isError for headers in visitors]
    assert made == [True, True, True, False, False]


def test_nobody_stops_anothers_take_without_knowing_its_session(page: str, folder: Path) -> None:
    visitor, other = Visitor(page, "8.8.7.8"), Visitor(page, "8.8.7.9")
    endpoints = httpx.get(f"{page}/config").json()["dependencies"]
    numbers = {each["api_name"]: each["id"] for each in endpoints}
    with ThreadPoolExecutor(1) as listening:  # what nobody listens to is stopped
        heard = listening.submit(visitor.hear, visitor.ask("lasting", duration=20))
        until(lambda: bool(told(folder, "lasting")))
        for session in ("", None, "lasting", "null", "*"):
            body = {"session_hash": session, "event_id": session, "fn_index": numbers["generate"]}
            for path in ("cancel", "reset"):
                httpx.post(f"{page}/gradio_api/{path}", json=body)
            for name in ("stop", "leave"):
                pressed = {"session_hash": session, "fn_index": numbers[name], "data": []}
                httpx.post(f"{page}/gradio_api/queue/join", json=pressed)
        assert '"status": "Done"' in heard.result()
    assert told(folder, "lasting") == ["began lasting", "made lasting"]
    assert '"status": "Done"' in other.hear(other.ask("short", **SHORT))


def test_those_who_never_read_what_they_ask_for_delay_nobody(page: str) -> None:
    visitor = Visitor(page, "8.8.7.7")
    file = visitor.send(300_000)
    paths = ["/config", "/healthz", "/", "/gradio_api/info", f"/gradio_api/file={file}"]
    paths += [f"/gradio_api/{path}" for path in ("queue/data?session_hash=x", "heartbeat/x")]
    place = urlsplit(page)
    with ExitStack() as readers:
        for number in range(70):
            address = (str(place.hostname), place.port or 80)
            reader = readers.enter_context(socket.create_connection(address, 10))
            reader.sendall(
                f"GET {paths[number % len(paths)]} HTTP/1.1\r\nhost: x\r\n\r\n".encode() * 9
            )
        for path in ("/config", f"/gradio_api/file={file}", "/healthz"):
            assert httpx.get(page + path, timeout=10).status_code == 200
        assert '"status": "Done"' in visitor.hear(visitor.ask("read", **SHORT))


def test_a_small_file_of_hours_is_refused_and_delays_nobody(page: str) -> None:
    greedy, modest = Visitor(page, "8.8.7.5"), Visitor(page, "8.8.7.6")
    bomb = greedy.send(hours_of_vorbis(3600))
    sent = {"path": str(bomb), "meta": {"_type": "gradio.FileData"}}
    calls = [greedy.ask("bomb", continue_from=sent) for _ in range(3)]
    assert '"status": "Done"' in modest.hear(modest.ask("modest", **SHORT))
    assert all("longer than 10 minutes" in greedy.hear(each) for each in calls)


def test_uploads_are_bounded_for_each_visitor_and_for_all(page: str) -> None:
    greedy, modest = Visitor(page, "8.8.6.1"), Visitor(page, "8.8.6.2")
    own = modest.send(100_000)
    many = [greedy.send(150_000) for _ in range(12)]
    assert [path.exists() for path in many] == [False] * 10 + [True] * 2
    for number in range(3, 10):
        many.append(Visitor(page, f"8.8.6.{number}").send(UPLOAD_BYTES_EACH // 2))
    assert sum(path.stat().st_size for path in many if path.exists()) <= UPLOAD_BYTES
    assert own.exists()  # those who hold more lose theirs first


def test_files_that_come_by_mcp_are_bounded_like_uploads(page: str, folder: Path) -> None:
    before = files_of(folder)
    for _ in range(8):
        data = b64encode(os.urandom(150_000)).decode()
        call(page, prompt="jazz", continue_from=f"data:audio/wav;base64,{data}")
    # Twice: Gradio sends what MCP brought to itself, as an upload from here.
    assert (
        0
        < sum(path.stat().st_size for path in files_of(folder) - before)
        <= (2 * UPLOAD_BYTES_EACH)
    )


def test_an_upload_that_is_broken_off_leaves_nothing(page: str, folder: Path) -> None:
    before = files_of(folder)
    place = urlsplit(page)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("content-type", "multipart/form-data; boundary=q")
    connection.putheader("content-length", "1000000")
    connection.endheaders()
    head = b'--q\r\ncontent-disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    connection.send(head + bytes(200_000))
    until(lambda: len(files_of(folder)) > len(before))
    connection.close()
    until(lambda: files_of(folder) == before)
    # Nor does one in a field that is none.
    httpx.post(f"{page}/gradio_api/upload", files={"other": ("a.wav", bytes(1000))})
    assert files_of(folder) == before


def files_of(folder: Path) -> set[Path]:
    """Those that are there; folders may go meanwhile."""
    return {Path(place) / name for place, _, names in os.walk(folder / "files") for name in names}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/process_recording"),
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
        ("GET", "/gradio_api/proxy=https://example.hf.space/"),
        ("GET", "/gradio_api/file=http://127.0.0.1:9/"),
        ("POST", "/gradio_api/vibe-edit/"),
        ("PUT", "/gradio_api/upload"),
    ],
)
def test_what_the_page_does_not_use_is_closed(page: str, method: str, path: str) -> None:
    assert httpx.request(method, page + path).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("component_server", {"component_id": 0, "fn_name": "x", "data": 0, "session_hash": ""}),
        ("call/nothing", {"data": []}),
        ("call/v2/nothing", {}),
        ("call/v2/generate", {"nothing": 1, "prompt": "jazz"}),
        ("run/nothing", {"data": []}),
        ("queue/join", {"data": [], "fn_index": 10**6, "session_hash": "x"}),
    ],
)
def test_what_makes_no_sense_is_refused_and_takes_one_line_of_the_log(
    page: str, folder: Path, path: str, body: Any
) -> None:
    before = (folder / "log").read_text()
    assert httpx.post(f"{page}/gradio_api/{path}", json=body).status_code == 400
    assert (folder / "log").read_text().removeprefix(before).count("\n") == 1


NO_UPLOAD = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("given", [[], ["nowhere"] * 20, [NO_UPLOAD] * 20, [{}] * 20])
def test_inputs_that_make_no_sense_are_refused_and_take_at_most_one_line_of_the_log(
    page: str, folder: Path, given: list[Any]
) -> None:
    before = (folder / "log").read_text()
    endpoints = httpx.get(f"{page}/config").json()["dependencies"]
    number = next(each["id"] for each in endpoints if each["api_name"] == "make")
    assert '"success":false' in pressed(page, number, given)
    assert (folder / "log").read_text().removeprefix(before).count("\n") <= 1


def test_what_only_a_browser_does_is_refused_in_one_line(page: str, folder: Path) -> None:
    before = (folder / "log").read_text()
    endpoints = httpx.get(f"{page}/config").json()["dependencies"]
    number = next(each["id"] for each in endpoints if not each["backend_fn"])
    assert '"success":false' in pressed(page, number, [""] * 9)
    assert (folder / "log").read_text().removeprefix(before).count("\n") == 1


def test_a_message_of_mcp_that_makes_no_sense_takes_one_line_of_the_log(
    page: str, folder: Path
) -> None:
    before = (folder / "log").read_text()
    accepted = {"accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "x"}}
    answer = httpx.post(f"{page}/gradio_api/mcp/", json=body, headers=accepted)
    assert answer.status_code < 500
    assert (folder / "log").read_text().removeprefix(before).count("\n") <= 1


def pressed(page: str, number: int, given: list[Any]) -> str:
    """What a page is told that has this handler called with these inputs."""
    session = {"session_hash": uuid4().hex}
    body = {"data": given, "fn_index": number, **session}
    assert httpx.post(f"{page}/gradio_api/queue/join", json=body).status_code == 200
    return httpx.get(f"{page}/gradio_api/queue/data", params=session, timeout=30).text


def test_sessions_that_are_invented_take_a_bounded_memory(page: str) -> None:
    endpoints = httpx.get(f"{page}/config").json()["dependencies"]
    number = next(each["id"] for each in endpoints if each["api_name"] == "stop")
    process = listening_on(urlsplit(page).port)

    def invent(sessions: range) -> int:
        with httpx.Client(timeout=30) as client:
            for each in sessions:
                body = {"fn_index": number, "session_hash": f"invented-{each}", "data": []}
                assert client.post(f"{page}/gradio_api/queue/join", json=body).status_code == 200
        return int(process.memory_info().rss)

    full = invent(range(SESSIONS))
    assert invent(range(SESSIONS, SESSIONS + 400)) - full < 400 * 75_000  # half of theirs


def test_an_unknown_session_takes_nothing_of_the_log(page: str, folder: Path) -> None:
    before = (folder / "log").read_text()
    for _ in range(10):
        answer = httpx.get(f"{page}/gradio_api/queue/data", params={"session_hash": "unknown"})
        assert '"session_not_found":true' in answer.text
    assert (folder / "log").read_text() == before


@pytest.mark.parametrize("sent", ["length", "chunks"])
def test_a_request_that_is_too_large_is_refused_before_it_is_read(page: str, sent: str) -> None:
    content: Any = bytes(2**20 + 1) if sent == "length" else iter([b"{}"])
    answer = httpx.post(f"{page}/gradio_api/queue/join", content=content)
    assert answer.status_code == (413 if sent == "length" else 411)


def test_of_gradios_routes_these_are_open() -> None:
    """Another version of Gradio has others: whoever takes it decides about them here."""

    async def gradios() -> App:
        with gr.Blocks() as empty:  # in here: it takes the running event loop, or leaves one open
            pass
        return App.create_app(empty)

    found: dict[str, set[str]] = defaultdict(set)
    for route in routes_of(asyncio.run(gradios()).routes):
        for method in getattr(route, "methods", None) or ["GET"]:
            if is_open(method, route.path.replace(":path", "")):
                found[method].add(route.path.rstrip("/") or "/")
    assert found == OPEN


def routes_of(routes: Iterable[Any]) -> Iterator[Any]:
    """All of them, those of routers that are included, too."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        yield from routes_of(inner.routes) if inner else [route]


OPEN = {
    "GET": {
        "/",
        "/assets/{path:path}",
        "/config",
        "/favicon.ico",
        "/gradio_api/app_id",
        "/gradio_api/call/v2/{api_name}/{event_id}",
        "/gradio_api/call/{api_name}/{event_id}",
        "/gradio_api/file={path_or_url:path}",
        "/gradio_api/heartbeat/{session_hash}",
        "/gradio_api/info",
        "/gradio_api/login_check",
        "/gradio_api/openapi.json",
        "/gradio_api/queue/data",
        "/gradio_api/startup-events",
        "/gradio_api/theme.css",
        "/gradio_api/upload_progress",
        "/manifest.json",
        "/pwa_icon",
        "/pwa_icon/{size}",
        "/robots.txt",
        "/static/{path:path}",
        "/svelte/{path:path}",
        "/theme.css",
    },
    "HEAD": {
        "/",
        "/gradio_api/file={path_or_url:path}",
    },
    "POST": {
        "/gradio_api/call/v2/{api_name}",
        "/gradio_api/call/{api_name}",
        "/gradio_api/cancel",
        "/gradio_api/component_server",
        "/gradio_api/queue/join",
        "/gradio_api/reset",
        "/gradio_api/run/{api_name}",
        "/gradio_api/upload",
    },
}

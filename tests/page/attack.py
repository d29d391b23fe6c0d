"""Hostile visitors for as long as one likes: ``python -m tests.page.attack --minutes 5``.

Half of the time some of them send the page, over real HTTP, whatever comes to mind, while a
modest visitor makes takes; the other half a library's folder is damaged between its starts.
Prints figures. ``--seed`` repeats what is sent and damaged, though not in which order it arrives.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, redirect_stdout, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.library.test_damage import DAMAGES, test_no_damage_loses_a_sound
from tests.servers.app import serving

ATTACKERS = 6
LISTENS = 10  # seconds, to a stream
CALM = 5  # seconds after which nothing of an attack is left
MOST_WAITED = 30  # seconds that a modest visitor waits for a take
PUBLIC = {"GRADIO_SERVER_NAME": "0.0.0.0", "MUSICGEN_PROXIES": "127.0.0.1"}


@dataclass
class Figures:
    """What came of an attack on the page."""

    answers: Counter[int] = field(default_factory=Counter)  # by status; 0: none
    failed: Counter[str] = field(default_factory=Counter)  # 5xx that are no refusals, by request
    served: list[float] = field(default_factory=list)  # seconds that a modest take took
    refused: int = 0  # modest takes that were not made
    before: Resources | None = None
    after: Resources | None = None

    @property
    def requests(self) -> int:
        return self.answers.total()


@dataclass(frozen=True)
class Resources:
    """What a page takes of the machine."""

    memory: int  # bytes
    open_files: int
    threads: int
    temporary_files: int
    temporary_bytes: int
    log_lines: int

    @classmethod
    def of(cls, process: psutil.Process, folder: Path) -> Resources:
        sizes = [path.stat().st_size for path in (folder / "files").rglob("*") if path.is_file()]
        return cls(
            process.memory_info().rss,
            process.num_fds(),
            process.num_threads(),
            len(sizes),
            sum(sizes),
            (folder / "log").read_text(errors="replace").count("\n"),
        )

    def __str__(self) -> str:
        return (
            f"{self.memory / 2**20:.0f} MB of memory, {self.open_files} open files, "
            f"{self.threads} threads, {self.temporary_files} temporary files of "
            f"{self.temporary_bytes / 2**20:.1f} MB, {self.log_lines} lines in the log"
        )


class Attacker:
    """Sends what comes to mind, from an address of its own."""

    def __init__(self, page: str, seed: int, figures: Figures) -> None:
        self._page, self._figures, self._chance = page, figures, random.Random(seed)
        address = {"x-forwarded-for": f"8.8.{seed // 250 % 250}.{seed % 250}"}
        self.client = httpx.Client(base_url=page, headers=address, timeout=20)
        config = self.client.get("/config").json()
        self._handlers = config["dependencies"]
        self._components = [each["id"] for each in config["components"]]
        self._ways: list[Callable[[], object]] = [
            self._press, self._press, self._run, self._call, self._serve, self._upload,
            self._break_off, self._ask_mcp, self._open_file, self._go_anywhere, self._end,
            self._talk_nonsense, self._never_read,
        ]  # fmt: skip

    def attack(self) -> None:
        """Once, in some way."""
        with suppress(httpx.TransportError, OSError):
            self._chance.choice(self._ways)()

    def _sent(self, method: str, path: str, **content: Any) -> httpx.Response | None:
        try:
            answer = self.client.request(method, path, **content)
        except httpx.TransportError:
            self._figures.answers[0] += 1
            return None
        self._figures.answers[answer.status_code] += 1
        refused = path.startswith("/gradio_api/run/") and "error" in answer.text
        if answer.status_code >= 500 and not refused:  # so Gradio answers what it refuses there
            self._figures.failed[f"{method} {path[:60]}: {answer.text[:80]}"] += 1
        return answer

    def _posted(self, path: str, body: Any) -> httpx.Response | None:
        content = json.dumps(body).encode()
        return self._sent("POST", f"/gradio_api/{path}", content=content, headers=JSON)

    def _value(self, depth: int = 0) -> Any:
        """Anything that JSON can say, and often a file."""
        chance = self._chance
        if depth < 3 and chance.random() < 0.15:
            return [self._value(depth + 1) for _ in range(chance.randrange(4))]
        if depth < 3 and chance.random() < 0.15:
            return {chance.choice(KEYS): self._value(depth + 1) for _ in range(4)}
        if chance.random() < 0.2:
            return {"path": chance.choice(PATHS), "url": chance.choice(PATHS), "meta": META}
        return chance.choice(VALUES)

    def _press(self) -> None:
        """Call a handler of the page, and listen to its end or not."""
        session = uuid4().hex
        handler = self._chance.choice(self._handlers)
        how_many = len(handler["inputs"]) + self._chance.choice([0, 0, 0, 0, -1, 1])
        data = [self._value() for _ in range(max(how_many, 0))]
        body = {"data": data, "fn_index": handler["id"], "session_hash": session}
        body |= {self._chance.choice(KEYS): self._value()} if self._chance.random() < 0.1 else {}
        self._posted("queue/join", body)
        if self._chance.random() < 0.5:
            self._listen(f"/gradio_api/queue/data?session_hash={session}")

    def _listen(self, path: str) -> None:
        """To the end of a stream, or to some place in it."""
        most, end = self._chance.choice([0, 1, 3, 100]), time.monotonic() + LISTENS
        with self.client.stream("GET", path) as answer:
            self._figures.answers[answer.status_code] += 1
            for number, _ in enumerate(answer.iter_lines()):
                if number >= most or time.monotonic() > end:
                    break

    def _run(self) -> None:
        name = self._chance.choice([str(each["api_name"]) for each in self._handlers])
        self._posted(f"run/{name}", {"data": [self._value() for _ in range(3)]})

    def _call(self) -> None:
        names = ["prompt", "duration", "seed", "model", "backend", "format", "continue_from"]
        wish = {name: self._value() for name in names if self._chance.random() < 0.3}
        wish.setdefault("prompt", "attack")
        answer = self._posted("call/v2/generate", wish)
        if answer is not None and answer.status_code == 200 and self._chance.random() < 0.7:
            self._listen(f"/gradio_api/call/v2/generate/{answer.json()['event_id']}")

    def _serve(self) -> None:
        functions = ["hear", "save", "search", "export", "x", "__init__", "delete", "finished"]
        body = {"component_id": self._chance.choice(self._components), "data": self._value()}
        body |= {"fn_name": self._chance.choice(functions), "session_hash": uuid4().hex}
        self._posted("component_server", body)

    def _upload(self) -> None:
        size = self._chance.choice([0, 1, 1000, 100_000, 500_000])
        name = self._chance.choice(["a.wav", "../../x", "", "\0", "x" * 5000, "<b>.ogg"])
        files = {self._chance.choice(["files", "other"]): (name, os.urandom(size))}
        self._sent("POST", "/gradio_api/upload", files=files)

    def _break_off(self) -> None:
        """An upload in the middle."""
        head = (
            "POST /gradio_api/upload HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n"
            "content-type: multipart/form-data; boundary=q\r\n\r\n"
            '--q\r\ncontent-disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
        )
        self._say(head.encode() + os.urandom(self._chance.randrange(200_000)))

    def _talk_nonsense(self) -> None:
        self._say(self._chance.choice([os.urandom(300), b"GET / HTTP/1.1\r\n", b""]))

    def _never_read(self) -> None:
        """Ask for something large and leave it there for a while."""
        path = self._chance.choice(["/", "/config", "/gradio_api/info", "/healthz"])
        self._say(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode() * 20)

    def _say(self, content: bytes) -> None:
        """Over a connection that is then closed without listening."""
        place = urlsplit(self._page)
        with socket.create_connection((str(place.hostname), place.port or 80), 10) as connection:
            connection.sendall(content)
            time.sleep(self._chance.choice([0, 0.1, 1]))

    def _ask_mcp(self) -> None:
        tool = self._chance.choice(["generate_music", "list_models", "x"])
        file = self._chance.choice([*PATHS, "data:audio/wav;base64,UklGRg==", "data:,", "data:"])
        arguments = {"prompt": "attack", "continue_from": file, "duration": self._value()}
        params = {"name": tool, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        body[self._chance.choice(["id", "x", "params"])] = self._value()
        accepted = {**JSON, "accept": "application/json, text/event-stream"}
        content = json.dumps(body).encode()
        self._sent("POST", "/gradio_api/mcp/", content=content, headers=accepted)

    def _open_file(self) -> None:
        self._sent("GET", f"/gradio_api/file={self._chance.choice(PATHS)}")

    def _go_anywhere(self) -> None:
        method = self._chance.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
        self._sent(method, self._chance.choice(PLACES), content=os.urandom(50))

    def _end(self) -> None:
        """Somebody else's call, perhaps."""
        body = {"session_hash": self._value(), "fn_index": self._value(), "event_id": "x"}
        self._posted(self._chance.choice(["cancel", "reset"]), body)


JSON = {"content-type": "application/json"}
META = {"_type": "gradio.FileData"}
KEYS = ("path", "value", "visitor", "id", "ids", "__type__", "url", "session_hash", "\ud800")
PATHS = (
    *("/etc/passwd", "http://sounds.invalid/a.wav", "../../../etc/passwd", "app.py", "", "/"),
    *("/proc/self/environ", "data:audio/wav;base64,AAAA", "file:///etc/passwd", "a" * 300, "%00"),
)
VALUES = (
    *(
        None,
        True,
        0,
        -1,
        1,
        3.5,
        10**30,
        1e308,
        float("nan"),
        "",
        "jazz",
        "x" * 2000,
        "\0",
        "\ud83d",
    ),
    *("<img src=x onerror=alert(1)>", "{}", "null", [], {}, "local", "hosted", "plain", "0" * 48),
)
PLACES = (
    *(
        "/",
        "/gradio_api/upload",
        "/gradio_api/queue/data",
        "/gradio_api/info",
        "/healthz",
        "/login",
    ),
    *("/gradio_api/queue/join", "/gradio_api/mcp/", "/monitoring", "//"),
    *("/gradio_api/call/v2/generate/x", "/static/../../app.py", "/gradio_api/upload_progress"),
)


def attack_page(folder: Path, seconds: float, seed: int) -> Figures:
    """Serve a page to attackers and to one other visitor for so long; its files go to ``folder``.

    What they took of it is measured after a first round, in which everything is loaded.
    """
    figures = Figures()
    with serving(folder / "log", "-m", "tests.servers.slow_page", **PUBLIC) as page:
        process = listening_on(urlsplit(page).port)
        _attack_for(page, min(seconds / 4, 20), seed, Figures())
        time.sleep(CALM)
        figures.before = Resources.of(process, folder)
        _attack_for(page, seconds, seed + 1000, figures)
        time.sleep(CALM)
        figures.after = Resources.of(process, folder)
        _ask_modestly(page, figures)
    return figures


def listening_on(port: int | None) -> psutil.Process:
    """The process that was started here and serves there."""
    [found] = [
        child
        for child in psutil.Process().children()
        if port in {each.laddr.port for each in child.net_connections("tcp") if each.laddr}
    ]
    return found


def _attack_for(page: str, seconds: float, seed: int, figures: Figures) -> None:
    end = time.monotonic() + seconds

    def attack(attacker: Attacker) -> None:
        with closing(attacker.client):
            while time.monotonic() < end:
                attacker.attack()

    attackers = [Attacker(page, seed + number, figures) for number in range(ATTACKERS)]
    with ThreadPoolExecutor(ATTACKERS) as pool:
        attacks = [pool.submit(attack, each) for each in attackers]
        while time.monotonic() < end:
            _ask_modestly(page, figures)
    for each in attacks:
        each.result()


def _ask_modestly(page: str, figures: Figures) -> None:
    """Make a take of a second, as a visitor who does nothing else."""
    begun = time.monotonic()
    headers = {"x-forwarded-for": "8.8.4.4"}
    url = f"{page}/gradio_api/call/v2/generate"
    wish = {"prompt": "modest", "duration": 1}
    try:
        call = httpx.post(url, json=wish, headers=headers, timeout=MOST_WAITED).json()["event_id"]
        heard = httpx.get(f"{url}/{call}", headers=headers, timeout=MOST_WAITED).text
    except httpx.TransportError:
        heard = ""
    if '"status": "Done"' in heard:
        figures.served.append(time.monotonic() - begun)
    else:
        figures.refused += 1


def damage_libraries(folder: Path, seconds: float, seed: int) -> tuple[int, int]:
    """Damage one library after another for so long; → damages, and libraries that lost a take."""
    damaged, lost = 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        place = folder / str(damaged)
        place.mkdir()
        try:
            with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()):
                test_no_damage_loses_a_sound(place, patch, seed + damaged)
        except AssertionError:
            traceback.print_exc()
            lost += 1
        damaged += 1
    return damaged * DAMAGES, lost


def main() -> int:
    """Attack, and tell what came of it; → the exit code, 1 where something was lost or failed."""
    parser = argparse.ArgumentParser(description="Attack a page and a library on this machine.")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="where to keep what the page logged")
    chosen = parser.parse_args()
    seconds = chosen.minutes * 30
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = attack_page(folder, seconds, chosen.seed)
        tell(figures)
        if chosen.log:
            chosen.log.write_bytes((folder / "log").read_bytes())
        damaged, lost = damage_libraries(folder, seconds, chosen.seed)
        print(f"{damaged} damages; libraries that lost a take: {lost}")
    return int(bool(lost or figures.failed or figures.refused))


def tell(figures: Figures) -> None:
    """Print them."""
    statuses = ", ".join(f"{status}: {n}" for status, n in sorted(figures.answers.items()))
    print(f"{figures.requests} requests ({statuses})")
    print(f"5xx that are no refusals: {figures.failed.total()}")
    for what, times in figures.failed.most_common(20):
        print(f"  {times} × {what}")
    waited = sorted(figures.served)
    print(
        f"{len(waited)} modest takes made, {figures.refused} not; "
        f"waited {waited[len(waited) // 2]:.1f} s (median), {waited[-1]:.1f} s (most)"
    )
    print(f"before: {figures.before}\nafter:  {figures.after}")


if __name__ == "__main__":
    sys.exit(main())

"""The device API of ZeroGPU, as the package ``spaces`` asks it, over real HTTP on loopback.

It lends a GPU that is none, or refuses in each of the ways that ``spaces/zero/client.py`` knows.
Left alone it lends at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "e30.e30.signature"  # a JSON Web Token about nothing

_LENT = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "lent"}
_PING = "event: ping\n\n"

# Status, headers and JSON; a text is a stream of events.
ANSWERS: dict[str, tuple[int, dict[str, str], object]] = {
    "lent": (200, {}, _LENT),
    "queued": (200, {}, [_PING, f"event: succeeded\ndata: {json.dumps(_LENT)}\n\n"]),
    "quota": (429, {"X-Authenticated": "regular"}, {"left": 20, "wait": 3 * 3600 + 60}),
    "runs": (429, {}, {"left": 20, "wait": 0}),
    "too long": (429, {"X-Authenticated": "regular"}, {"left": 20, "wait": -1}),
    "pending": (
        429,
        {"X-Approve-Result": "pending-overquota-exceeded"},
        {"left": 20, "wait": 60},
    ),
    "no turn": (200, {}, [_PING, "event: failed\n\n"]),
    "no gpu": (503, {}, {}),
    "expired": (401, {}, {}),
    "broken": (500, {}, {}),
    "cut short": (200, {}, [_PING]),
    "taken back": (200, {}, _LENT),
}


@dataclass
class Device:
    """What the API says next, and what it was asked; ``url`` is where it is."""

    answer: str = "lent"
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)  # of /schedule
    released: list[dict[str, str]] = field(default_factory=list)
    reports: int = 0
    going: threading.Event = field(default_factory=threading.Event)  # set: what is queued is lent

    @property
    def tokens(self) -> list[str | None]:
        """Whose quota the calls were on; None: nobody's."""
        return [each.get("token") for each in self.asked]


@contextmanager
def device_api() -> Iterator[Device]:
    """Serve a ``Device`` in a thread."""
    device = Device()
    device.going.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            if address.path == "/schedule":
                device.asked.append(query)
                self._send(*ANSWERS[device.answer])
            elif address.path == "/allow":
                self._send(200, {}, {})
                if device.answer == "taken back":
                    os.kill(int(query["pid"]), signal.SIGKILL)
            elif address.path == "/release":
                device.released.append(query)
                self._send(404 if device.answer == "taken back" else 200, {}, {})
            elif address.path == "/startup-report":
                device.reports += 1
                self._send(200, {}, {})

        def log_message(self, *_: object) -> None:
            pass

        def _send(self, status: int, headers: dict[str, str], content: object) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if isinstance(content, list):
                self._stream(content)
                return
            body = json.dumps(content).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, events: list[str]) -> None:
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in events:
                if event != _PING:
                    device.going.wait(60)
                data = event.encode()
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    device.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield device
    finally:
        device.going.set()
        server.shutdown()
        server.server_close()
        thread.join()


def gpu_without_card(url: Callable[[], str]) -> Callable[..., Any]:
    """``spaces.GPU`` as it is on a Space with ZeroGPU, but that no process ever gets a card.

    It asks the device API at ``url()``, and runs functions in forked processes; models stay on
    the CPU. Of the package, that is all but what stands between it and CUDA, which can't be
    imported where torch has none.
    """
    emulation = ModuleType("spaces.zero.torch")
    for name in ("enter_mode", "unpatch", "init", "size", "move"):
        setattr(emulation, name, lambda *_, **__: 0)
    sys.modules.setdefault(emulation.__name__, emulation)

    from spaces.config import Config
    from spaces.zero import client
    from spaces.zero.config import get_config
    from spaces.zero.wrappers import generator_function_wrapper

    with warnings.catch_warnings(action="ignore"):
        get_config()  # warns once that there is no driver to be asked

    opened: ContextVar[list[Any]] = ContextVar("opened")  # it closes none of its connections
    plain_client = getattr(client.api_client, "__wrapped__", client.api_client)

    @wraps(plain_client)
    def api_client() -> Any:
        made = plain_client()
        opened.get([]).append(made.client)
        return made

    client.api_client = api_client

    def gpu(function: Any, duration: Any) -> Any:
        decorated = generator_function_wrapper(function, duration, None)

        def call(*arguments: Any) -> Iterator[Any]:
            Config.zero_device_api_url = url()
            mine: list[Any] = []
            opened.set(mine)
            try:
                yield from decorated(*arguments)
            finally:
                for each in mine:
                    each.close()

        return call

    return gpu

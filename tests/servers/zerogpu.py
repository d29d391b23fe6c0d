"""The device API of ZeroGPU, as the package ``spaces`` asks it, over real HTTP on loopback.

It lends a GPU that is none, or refuses in each of the ways that ``spaces/zero/client.py`` knows.
Left alone it lends at once.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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

"""A reverse proxy on loopback that serves a page below a prefix, as those of hosts do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class ReverseProxy(ThreadingHTTPServer):
    """Leads from below ``prefix`` to ``behind``; without the prefix if ``strips``."""

    daemon_threads = True

    def __init__(self, behind: str, prefix: str, *, strips: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Leading)
        self.behind = str(urlsplit(behind).netloc)
        self.prefix, self.strips = prefix, strips
        self.address = f"http://127.0.0.1:{self.server_port}{prefix}/"


class _Leading(BaseHTTPRequestHandler):
    server: ReverseProxy

    def do_GET(self) -> None:
        if self.path.startswith(f"{self.server.prefix}/"):
            self._lead()
        else:
            self.send_error(404)

    do_HEAD = do_POST = do_OPTIONS = do_GET  # noqa: N815

    def _lead(self) -> None:
        path = self.path.removeprefix(self.server.prefix) if self.server.strips else self.path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with closing(http.client.HTTPConnection(self.server.behind)) as onward:
            onward.request(self.command, path, body, dict(self.headers))
            self._answer(onward.getresponse())

    def _answer(self, response: http.client.HTTPResponse) -> None:
        """Piece by piece, as events come; its end is that of the connection."""
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        try:
            while piece := response.read1(65536):
                self.wfile.write(piece)
                self.wfile.flush()
        except (OSError, http.client.HTTPException):
            pass  # one of both has left

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def behind_a_proxy(behind: str, prefix: str, *, strips: bool) -> Iterator[ReverseProxy]:
    """Run one in a thread."""
    with ReverseProxy(behind, prefix, strips=strips) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield server
        finally:
            server.shutdown()

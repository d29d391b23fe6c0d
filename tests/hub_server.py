"""The part of the Hugging Face hub that a download meets, over real HTTP on loopback.

Serves one repository from a folder: the file tree, the metadata of a file and its bytes.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

REPOSITORY = "someone/tiny-musicgen"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub_of(folder: Path) -> Iterator[str]:
    """Serve ``folder`` as ``REPOSITORY``; yields the hub's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, *, body: bool) -> None:
            path = urlsplit(self.path).path
            files = {file.name: file for file in folder.iterdir()}
            if path.startswith(f"/api/models/{REPOSITORY}/tree/"):
                entries = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": COMMIT}
                    for name, file in files.items()
                ]
                self._send(json_of(entries), body)
            elif path.startswith(f"/api/models/{REPOSITORY}"):
                siblings = [{"rfilename": name} for name in files]
                info = {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings, "private": False,
                        "downloads": 0, "tags": [], "likes": 0}  # fmt: skip
                self._send(json_of(info), body)
            elif path.startswith(f"/{REPOSITORY}/resolve/") and path.split("/")[-1] in files:
                data = files[path.split("/")[-1]].read_bytes()
                self._send(data, body, etag=hashlib.sha256(data).hexdigest())
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _send(self, data: bytes, body: bool, etag: str = "") -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Repo-Commit", COMMIT)
            if etag:
                self.send_header("ETag", f'"{etag}"')
            self.end_headers()
            if body:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def json_of(value: object) -> bytes:
    import json

    return json.dumps(value).encode()

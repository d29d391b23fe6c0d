"""The part of the Hugging Face hub that a download meets, over real HTTP on loopback.

Serves repositories from folders: the file tree, the metadata of a file and its bytes. Or it
refuses, with the headers that the hub sends then.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

REPOSITORY = "someone/tiny-musicgen"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

_ADDRESS = re.compile(r"(/api/models)?/(.+?)(?:/(tree|resolve|revision)/[^/]+/?(.*))?")


@dataclass(frozen=True)
class Refusal:
    """An answer in place of files: to every request, or only to those for their bytes."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    files_only: bool = False
    body: bytes = b""


@contextmanager
def hub_of(
    folder: Path,
    refusal: Refusal | None = None,
    answers: Callable[[str], bool] = lambda path: True,
    **others: Path,
) -> Iterator[str]:
    """Serve ``folder`` as ``REPOSITORY`` and ``others`` by name; yields the hub's address.

    ``answers`` is asked in the thread of each request, which it may hold up, whether there is an
    answer at all.
    """
    repositories = {REPOSITORY: folder, **others}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, *, body: bool) -> None:
            path = urlsplit(self.path).path
            if not answers(path):
                self.close_connection = True
                return
            asked = _ADDRESS.fullmatch(path)
            api, name, verb, file_name = asked.groups() if asked else ("", "", "", "")
            if refusal and (verb == "resolve" or not refusal.files_only):
                self._refuse(refusal, body)
                return
            here = repositories.get(name, Path("nowhere"))
            files = [file for file in here.rglob("*") if file.is_file()]
            names = [str(file.relative_to(here)) for file in files]
            if api and verb == "tree" and files:
                entries = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": COMMIT}
                    for name, file in zip(names, files, strict=True)
                ]
                self._send(json.dumps(entries).encode(), body)
            elif api and files:
                siblings = [{"rfilename": name} for name in names]
                info = {"id": name, "sha": COMMIT, "siblings": siblings, "private": False,
                        "downloads": 0, "tags": [], "likes": 0}  # fmt: skip
                self._send(json.dumps(info).encode(), body)
            elif verb == "resolve" and file_name in names:
                data = (here / file_name).read_bytes()
                self._send(data, body, etag=hashlib.sha256(data).hexdigest())
            else:
                self._refuse(Refusal(404, {"X-Error-Code": "RepoNotFound"}), body)

        def _refuse(self, refusal: Refusal, body: bool) -> None:
            self.send_response(refusal.status)
            for name, value in refusal.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(refusal.body)))
            self.end_headers()
            if body:
                self.wfile.write(refusal.body)

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

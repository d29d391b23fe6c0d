"""What visitors upload: the latest files, within a bound for each of them and for all.

In place of Gradio's route, which keeps everything for a day, also what was broken off.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from musicgen_space.audio.clips import MAX_CLIP_BYTES
from musicgen_space.page.gradio_compat import (
    UPLOAD,
    kept_till_deleted,
    receive_files,
    upload_folder,
)
from musicgen_space.page.visitors.identity import network_of
from musicgen_space.page.visitors.shares import Shares, remove_file

__all__ = ["Uploads"]

_MOST_BYTES = 20 * MAX_CLIP_BYTES
_MOST_BYTES_EACH = 4 * MAX_CLIP_BYTES
_AT_ONCE, _AT_ONCE_EACH = 16, 4  # requests that are on their way


class Uploads:
    """Takes files in; those that were not sent or sent again for longest go first."""

    def __init__(self) -> None:
        self._shares = Shares(_MOST_BYTES, _MOST_BYTES_EACH)
        self._lock = threading.Lock()
        self._sending: Counter[str] = Counter()  # requests on their way, by visitor

    def route(self) -> Route:
        """The route in place of Gradio's."""
        return Route(UPLOAD, self._upload, methods=["POST"])

    def keep(self, paths: list[str], visitor: str) -> None:
        """Count files as sent by a visitor; others go for them."""
        with self._lock:
            for path in paths:
                size = os.path.getsize(path) if os.path.exists(path) else 0
                for gone in self._shares.put(path, visitor, size):
                    remove_file(gone)

    async def _upload(self, request: Request) -> Response:
        """Answers like Gradio's: the paths of the files that were sent."""
        assert request.client is not None
        visitor = network_of(request.client.host)
        with self._counted(visitor):
            paths = await self._received(request)
        kept_till_deleted(request, paths)
        await anyio.to_thread.run_sync(self.keep, paths, visitor)
        return JSONResponse(paths)

    @contextmanager
    def _counted(self, visitor: str) -> Iterator[None]:
        if self._sending[visitor] >= _AT_ONCE_EACH or self._sending.total() >= _AT_ONCE:
            raise HTTPException(429, "Too many files are sent at once.")
        self._sending[visitor] += 1
        try:
            yield
        finally:
            self._sending[visitor] -= 1
            self._sending += Counter()  # forgets who sends nothing

    async def _received(self, request: Request) -> list[str]:
        """The files of a request, under the names that Gradio has for them; else nothing is left.

        Raises ``HTTPException`` for a form that is none or has too large a file.
        """
        folder = upload_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as sent:
            files = await receive_files(request, sent, MAX_CLIP_BYTES)
            return [_moved(Path(file), sent, folder) for file in files]


def _moved(file: Path, sent: str, folder: Path) -> str:
    """Move a file to the same place below ``folder``, which tells what is in it."""
    path = folder / file.relative_to(sent)
    path.parent.mkdir(exist_ok=True)
    file.replace(path)
    return str(path)

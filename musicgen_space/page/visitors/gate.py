"""What of Gradio's server is open, and how much it takes in: what this page and programs use.

Gradio brings many routes: recordings, proxies, statistics, editors. All are closed but these.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from itertools import dropwhile
from traceback import walk_tb

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from musicgen_space.audio.clips import MAX_CLIP_BYTES
from musicgen_space.page.gradio_compat import MCP, READ, UPLOAD, WRITTEN, path_of

__all__ = ["COMPONENT", "HEALTH", "Gate", "is_open"]

log = logging.getLogger(__name__)

_NOT_UNDERSTOOD = "This request makes no sense here: what it names is not there."
_MOST_BYTES = 2**20  # of what a page or a program asks for
_AROUND_A_FILE = 2**16  # what a form adds to an upload
# Ours.
HEALTH = "/healthz"
COMPONENT = "/embed.js"


def is_open(method: str, path: str, more: Collection[str] = ()) -> bool:
    """Whether a request goes through; ``more``: paths of ours that can be read."""
    reads = method in ("GET", "HEAD")
    if reads and path in (HEALTH, COMPONENT, *more):
        return True
    opened = READ if reads else WRITTEN if method == "POST" else MCP
    return bool(opened.fullmatch(path) or MCP.fullmatch(path))


class Gate:
    """Answers for Gradio where something is closed or too large.

    ``more`` are paths of ours that are open.
    """

    def __init__(self, app: ASGIApp, more: Collection[str] = ()) -> None:
        self._app, self._more = app, more

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and (refusal := _refusal(scope, self._more)):
            status, words = refusal
            await JSONResponse({"detail": words}, status)(scope, receive, send)
        elif scope["type"] == "http":
            await _with_short_errors(self._app, scope, receive, send)
        else:  # the API before it has the only WebSocket
            await send({"type": "websocket.close"})


def _refusal(scope: Scope, more: Collection[str]) -> tuple[int, str] | None:
    """The status and the words with which a request is turned away, if it is."""
    path, headers = path_of(scope), Headers(scope=scope)
    if not is_open(scope["method"], path, more):
        return 404, "Not Found"
    if "transfer-encoding" in headers:
        return 411, "The length of a request must be told before it."
    most = MAX_CLIP_BYTES + _AROUND_A_FILE if path == UPLOAD else _MOST_BYTES
    length = int(headers.get("content-length", 0))  # a number: the server has read it before
    if length > most:
        return 413, f"A request must have at most {most} bytes, got {length}."
    return None


async def _with_short_errors(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run ``app``; what Gradio can't make sense of is refused, and takes a line of the log.

    The server would answer 500, and log all that led to it for each such request. Of a session
    that it doesn't know Gradio says so in its answer, and fails then: that just ends the answer.
    """
    begun = False

    async def sent(message: Message) -> None:
        nonlocal begun
        begun = begun or message["type"] == "http.response.start"
        await send(message)

    try:
        await app(scope, receive, sent)
    except Exception as error:
        late = isinstance(error, HTTPException) or isinstance(error.__cause__, HTTPException)
        if _is_of_our_code(error) or (begun and not late):
            raise
        if begun:
            await send({"type": "http.response.body", "body": b""})
            return
        log.warning("%s %s was not understood: %r", scope["method"], scope["path"][:80], error)
        await JSONResponse({"detail": _NOT_UNDERSTOOD}, 400)(scope, receive, send)


def _is_of_our_code(error: Exception) -> bool:
    """Whether Gradio had called something of ours, in which it was raised."""
    names = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
    called = dropwhile(lambda name: not name.startswith("gradio."), names)
    return any(name.startswith("musicgen_space.") for name in called)

"""What of Gradio's server is open, and how much it takes in: what this page and programs use.

Gradio brings many routes: recordings, proxies, statistics, editors. All are closed but these.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from musicgen_space import audio

__all__ = ["UPLOAD", "Gate", "is_open"]

_MOST_BYTES = 2**20  # of what a page or a program asks for
_AROUND_A_FILE = 2**16  # what a form adds to an upload
UPLOAD = "/gradio_api/upload"

_READ = re.compile(
    r"/|/config/?|/favicon\.ico|/theme\.css|/robots\.txt|/manifest\.json|/pwa_icon(/.*)?|/healthz"
    r"|/(static|assets|svelte)/.*"
    r"|/gradio_api/(theme\.css|info/?|openapi\.json|startup-events|app_id/?|login_check/?"
    r"|heartbeat/[^/]+|queue/data|upload_progress|call/(v2/)?[^/]+/[^/]+|file=(?!https?:).*)"
)
_WRITTEN = re.compile(
    r"/gradio_api/(upload|queue/join|cancel|reset/?|component_server/?|run/[^/]+/?"
    r"|call/(v2/)?[^/]+/?)"
)
_MCP = re.compile(r"/gradio_api/mcp(/.*)?")  # in any way


def is_open(method: str, path: str) -> bool:
    """Whether a request goes through to Gradio."""
    opened = _READ if method in ("GET", "HEAD") else _WRITTEN if method == "POST" else _MCP
    return bool(opened.fullmatch(path) or _MCP.fullmatch(path))


class Gate:
    """Answers for Gradio where something is closed or too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and (refusal := _refusal(scope)):
            status, words = refusal
            await JSONResponse({"detail": words}, status)(scope, receive, send)
        elif scope["type"] == "http":  # there are no other ways in, such as websockets
            await _without_late_errors(self._app, scope, receive, send)


def _refusal(scope: Scope) -> tuple[int, str] | None:
    """The status and the words with which a request is turned away, if it is."""
    path, headers = scope["path"], Headers(scope=scope)
    if not is_open(scope["method"], path):
        return 404, "Not Found"
    if "transfer-encoding" in headers:
        return 411, "The length of a request must be told before it."
    most = audio.MAX_CLIP_BYTES + _AROUND_A_FILE if path == UPLOAD else _MOST_BYTES
    length = int(headers.get("content-length", 0))  # a number: the server has read it before
    if length > most:
        return 413, f"A request must have at most {most} bytes, got {length}."
    return None


async def _without_late_errors(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run ``app``; its refusals that come when an answer has begun just end it.

    Gradio finds only then that a session is unknown, and says so in the answer. The server
    would log each such error with all that led to it.
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
        if not begun or not late:
            raise
        await send({"type": "http.response.body", "body": b""})

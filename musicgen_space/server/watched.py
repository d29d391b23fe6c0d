"""Around every request: an id, a line in the log, a count, and an end to who reads too slowly.

A WebSocket is one, too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback
import uuid
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from musicgen_space.server.metrics import Metrics

__all__ = ["Cut", "Watched"]

log = logging.getLogger(__name__)


class Cut(Exception):
    """Ends an answer in the middle, so that its reader sees that it isn't whole."""


class Watched:
    """``app``, watched. The log has no key, prompt or address: only what is ours.

    A client has ``stall`` seconds to take a piece of an answer.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, stall: float) -> None:
        self._app, self._metrics, self._stall = app, metrics, stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        seen = _Seen(send, self._stall)
        try:
            await self._app(scope, receive, seen.send)
        except Exception as error:  # the connection ends in the middle of the answer
            seen.cut = True
            if not isinstance(error, TimeoutError | Cut | ClientDisconnect):
                # Without its words, in which a prompt may be.
                frames = "".join(traceback.format_tb(error.__traceback__))
                log.error("Request %s failed: %s\n%s", seen.id, type(error).__name__, frames)
        finally:
            self._note(scope, seen)

    def _note(self, scope: Scope, seen: _Seen) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.answered(route, seen.status)
        if route in ("/healthz", "/readyz", "/metrics"):
            return
        facts: dict[str, Any] = {
            "request": seen.id,
            "method": _method_of(scope),
            "route": route,
            "status": seen.status,
            "seconds": round(time.monotonic() - seen.began, 3),
        }
        log.info("%s", json.dumps(facts | ({"cut": True} if seen.cut else {})))


def _status_of(message: Message, before: int) -> int:
    """HTTP's status; of a WebSocket that was opened 101, and then the code it is closed with."""
    kind = message["type"]
    if kind == "http.response.start":
        return int(message["status"])
    if kind == "websocket.accept":
        return 101
    if kind == "websocket.close":
        return int(message.get("code", 1000)) if before else 403
    return before


def _method_of(scope: Scope) -> str:
    method = str(scope.get("method", "WS"))
    return method if method.isalpha() else "?"


class _Seen:
    """What is seen of an answer while it is sent."""

    def __init__(self, send: Send, stall: float) -> None:
        self._send, self._stall = send, stall
        self.id, self.status, self.cut = uuid.uuid4().hex, 0, False
        self.began = time.monotonic()

    async def send(self, message: Message) -> None:
        self.status = _status_of(message, self.status)
        if message["type"] in ("http.response.start", "websocket.accept"):
            headers = MutableHeaders(scope=message)
            self.id = headers.setdefault("x-request-id", self.id)
        async with asyncio.timeout(self._stall):
            await self._send(message)
